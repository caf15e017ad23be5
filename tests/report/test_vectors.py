"""Plots of a page: places on them, and colours that follow the page's."""

import re

import numpy as np
import pytest

from clad.report import subject, vectors


def points(svg):
    """Ends of every curve drawn, in the SVG's units."""
    for path in re.findall(r'<path d="(M [^"]+)"[^>]*style="fill: none; stroke: var\(--c0\)', svg):
        numbers = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", path)]
        yield np.array(numbers).reshape(-1, 2)


def test_data_lie_where_the_page_is_told():
    scores, truth = np.array([1.0, 2, 3, 4]), np.array([False, True, False, True])
    plot = vectors.roc(scores, truth)
    (curve,) = points(plot.svg)

    def place(axis, value):
        return axis[2] + (value - axis[0]) / (axis[1] - axis[0]) * (axis[3] - axis[2])

    assert curve[0] == pytest.approx([place(plot.x, 0), place(plot.y, 0)], abs=0.01)
    assert curve[-1] == pytest.approx([place(plot.x, 1), place(plot.y, 1)], abs=0.01)


def test_svg_is_one_clean_element(run_folder):
    svg = vectors.histogram(subject.of_run(run_folder)).svg
    assert svg.startswith('<svg role="img" aria-label="Histogram of anomaly scores"')
    assert "<text" in svg, "text stays text"
    assert not re.search(r'id="(figure|axes|text)_\d', svg)
    assert "#222222" not in svg
    assert "var(--ink)" in svg
    assert "<metadata" not in svg


def test_curves_of_what_there_is():
    assert vectors.curves({}) is None
    assert vectors.curves({"dec": []}) is None
    svg = vectors.curves({"autoencoder": [2, 1], "dec": [], "classifier": [3]}).svg
    assert "Training curves of autoencoder, classifier" in svg
