"""AUROC in percent that Park et al. 2021 (arXiv 2104.09793) print for CLAD: one seed each.

Tables 1 and 2. The number of clusters is the best of their test curve (figure 3).
"""

PAPER = {
    ("mnist", "CUR"): 94.0,
    ("mnist", "STR"): 96.1,
    ("mnist", "MIX"): 92.6,
    ("gtsrb", "SPDL"): 66.7,
    ("gtsrb", "INST"): 66.5,
    ("gtsrb", "WARN"): 64.9,
    ("gtsrb", "DIRC"): 67.4,
    ("gtsrb", "SPEC"): 62.2,
    ("gtsrb", "REGN"): 79.1,
    ("cifar10", "THG"): 74.9,
    ("cifar10", "LIV"): 72.8,
    ("tiny_imagenet", "ANML"): 65.9,
    ("tiny_imagenet", "ISCT"): 66.2,
    ("tiny_imagenet", "ISTM"): 55.6,
    ("tiny_imagenet", "STRT"): 62.0,
    ("tiny_imagenet", "VHCL"): 64.7,
}
