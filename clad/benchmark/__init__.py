"""Experiments on labelled benchmarks: the detector sees none of the labels."""
