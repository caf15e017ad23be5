"""The picture of an ablation: every form of sweep gives one."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from clad.report.ablation import changes, draw_ablation, fill, mean_change


def rows(*points):
    return [
        {"sweep": point, "scenario": scenario, "seed": seed, "auroc": 0.5 + 0.05 * i + 0.01 * seed}
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
        "variants": rows({"variant": "default"}, {"variant": "no turns"}, {"variant": "one round"}),
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


def variant(name, scenario, seed, auroc):
    return {"sweep": {"variant": name}, "scenario": scenario, "seed": seed, "auroc": auroc}


def test_what_a_variant_brings_is_asked_of_seeds_and_scenarios_that_both_have():
    found = changes(
        [
            variant("default", "CUR", 0, 0.90),
            variant("default", "CUR", 1, 0.80),
            variant("default", "STR", 0, 0.70),
            variant("no turns", "CUR", 1, 0.77),
            variant("no turns", "CUR", 2, 0.10),
            variant("no turns", "MIX", 0, 0.50),
            variant("slower", "STR", 0, 0.75),
            variant("slower", "CUR", 0, 0.91),
            variant("slower", "CUR", 1, 0.83),
            variant("unfinished", "MIX", 0, 0.50),
        ]
    )
    assert list(found) == ["no turns", "slower"]
    assert found["no turns"] == {"CUR": pytest.approx([-3.0])}
    assert found["slower"] == {"STR": pytest.approx([5.0]), "CUR": pytest.approx([1.0, 3.0])}
    assert mean_change(found["slower"]) == pytest.approx(3.5)  # not (5 + 1 + 3) / 3


def test_the_default_without_a_part_of_its_score_is_another():
    found = changes(
        [
            variant("default", "CUR", 0, 0.9) | {"auroc_without_part": {"logits": 0.87}},
            variant("one round", "CUR", 0, 0.85) | {"auroc_without_part": {"logits": 0.5}},
        ]
    )
    expected = {"score without logits": -3.0, "one round": -5.0}
    assert found == {name: {"CUR": pytest.approx([value])} for name, value in expected.items()}


def test_a_variant_stands_where_its_changes_say():
    found = [variant("one round", "CUR", 0, 0.85), variant("default", "CUR", 0, 0.9)]  # as done
    figure = Figure()
    fill(figure, found, "mnist")
    ax = figure.axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["one round  (-5.0)"]
    marks = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    np.testing.assert_allclose(marks["CUR"], [[-5.0, 0]])
    np.testing.assert_allclose(marks["mean"], [[-5.0, 0]])
