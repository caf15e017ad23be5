"""The picture of an ablation: every form of sweep gives one."""

import numpy as np
from PIL import Image

from clad.report.ablation import draw_ablation


def rows(*points):
    return [
        {"sweep": point, "scenario": scenario, "auroc": 0.5 + 0.05 * i + 0.01 * seed}
        for scenario in ("CUR", "STR")
        for i, point in enumerate(points)
        for seed in range(2)
    ]


def ink(path):
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


def test_numbers_words_and_pairs(tmp_path):
    sweeps = {
        "numbers": rows({"dec.clusters": 2}, {"dec.clusters": 20}),
        "words": rows({"classifier.stem": "small"}, {"classifier.stem": "torchvision"}),
        "pairs": rows(*({"a": a, "b": b} for a in (1, 2) for b in ("x", "y"))),
        "holes": rows({"a": 1, "b": "x"}, {"a": 2, "b": "y"}),
    }
    for name, found in sweeps.items():
        draw_ablation(tmp_path / f"{name}.png", found, name)
        assert ink(tmp_path / f"{name}.png") > 100
