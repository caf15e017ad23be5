"""The picture of an ablation: every form of sweep gives one."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from clad.report.ablation import draw_ablation, fill


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


def test_a_line_goes_from_the_least_value_to_the_greatest_whichever_cell_was_done_first():
    found = rows(*({"dec.clusters": k} for k in (2, 10, 4)))
    figure = Figure()
    fill(figure, found[::-1], "shuffled")
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [2, 4, 10])
    np.testing.assert_allclose(line.get_ydata(), [50.5, 60.5, 55.5])
