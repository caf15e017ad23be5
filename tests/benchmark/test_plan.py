"""Which cells there are, and what is wrong with a file before the first is run."""

from pathlib import Path

import pytest

from clad.benchmark.cells import METHODS
from clad.benchmark.plan import Source, ablation_cells, cells, read_ablation
from clad.data.scenarios import SCENARIOS
from clad.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
ABLATIONS = sorted((ROOT / "configs" / "ablation").glob("*.yaml"))
DIGITS = Source("digits")


def test_scenarios_methods_and_seeds():
    found = cells(DIGITS, ["CUR", "MIX"], ["clad", "ocsvm"], 2, ["dec.clusters=5"])
    assert len(found) == 2 * 2 * 2
    assert len({cell.key for cell in found}) == 8
    assert {cell.config.dec.clusters for cell in found} == {5}
    assert [cell.config.seed for cell in found[:2]] == [0, 1]
    one = cells(DIGITS, ["one-class"], ["ocsvm"], 1)
    assert [cell.scenario.name for cell in one] == [f"one-class:{i}" for i in range(10)]


def test_all_methods_are_those_with_a_recipe():
    methods = {cell.method for cell in cells(DIGITS, ["CUR"], ["all"], 1)}
    assert methods == set(METHODS) - {"clad:paper"}
    with pytest.raises(DataError, match="unknown method 'clad:paper'"):
        cells(DIGITS, ["CUR"], ["clad:paper"], 1)


def ablation(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    return read_ablation(file)


def test_every_combination_of_the_swept_values(tmp_path):
    swept = ablation(
        tmp_path,
        "dataset: digits\nscenarios: [CUR]\nseeds: 2\nfixed: {dec.epochs: 3}\n"
        "sweep:\n  dec.clusters: [3, auto]\n  classifier.rotations: [1, 4]\n",
    )
    found = ablation_cells(swept, DIGITS)
    assert len(found) == 2 * 2 * 2
    assert len({cell.key for _, cell in found}) == 8
    point, cell = found[-1]
    assert point == {"dec.clusters": "auto", "classifier.rotations": 4}
    assert cell.config.dec.clusters == "auto"
    assert cell.config.classifier.rotations == 4
    assert cell.config.dec.epochs == 3
    assert len(ablation_cells(swept, DIGITS, seeds=5)) == 20


def test_every_variant_has_its_own_changes_over_what_is_fixed(tmp_path):
    varied = ablation(
        tmp_path,
        "dataset: digits\nscenarios: [CUR]\nseeds: 2\nfixed: {dec.epochs: 3, dec.clusters: 4}\n"
        "variants:\n  default: {}\n  no turns: {classifier.rotations: 1, dec.clusters: 5}\n",
    )
    found = ablation_cells(varied, DIGITS)
    assert [point["variant"] for point, _ in found] == ["default"] * 2 + ["no turns"] * 2
    assert len({cell.key for _, cell in found}) == 4
    default, changed = found[0][1].config, found[-1][1].config
    assert (default.dec.clusters, default.dec.epochs, default.classifier.rotations) == (
        4,
        3,
        "auto",
    )
    assert (changed.dec.clusters, changed.dec.epochs, changed.classifier.rotations) == (5, 3, 1)


def test_an_unknown_key_is_named_with_where_it_stands_and_the_nearest(tmp_path):
    varied = ablation(tmp_path, "dataset: digits\nvariants: {default: {}, b: {dec.clusterz: 3}}")
    with pytest.raises(ConfigError, match=r"variant b: dec\.clusterz: unknown key; .*'clusters'"):
        ablation_cells(varied, DIGITS)
    fixed = ablation(tmp_path, "dataset: digits\nfixed: {dec.epoch: 3}\nsweep: {seed: [1]}")
    with pytest.raises(ConfigError, match=r"fixed and sweep: dec\.epoch: unknown key; .*'epochs'"):
        ablation_cells(fixed, DIGITS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dataset: digits",
            r"a\.yaml: file: .*sweep or variants \(keys: dataset, scenarios",
        ),
        ("dataset: digits\nsweep: {}", "give either sweep or variants"),
        ("dataset: digits\nsweep: {a: [3]}\nvariants: {b: {a: 4}}", "either sweep or variants"),
        ("dataset: digits\nvariants: {b: {a: 4}}", "one of the variants must be named default"),
        ("dataset: digits\nvariants: {b: 4}", r"variants\.b: Input should be a valid dictionary"),
        ("dataset: digits\nsweep: {a: [1], b: [2], c: [3]}", "sweep: Dictionary should have at m"),
        ("dataset: digits\nsweep: {a: 3}", r"sweep\.a: Input should be a valid list"),
        ("dataset: digits\nsweeps: {a: [3]}", "sweeps: Extra inputs are not permitted"),
        ("[", "cannot be read"),
    ],
)
def test_a_wrong_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        ablation(tmp_path, text)
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        read_ablation(tmp_path / "absent.yaml")


def test_a_swept_key_that_is_unknown_names_the_nearest(tmp_path):
    swept = ablation(tmp_path, "dataset: digits\nsweep: {dec.clusterz: [3]}")
    with pytest.raises(ConfigError, match=r"dec\.clusterz: unknown key; did you mean 'clusters'"):
        ablation_cells(swept, DIGITS)


def test_an_unknown_method(tmp_path):
    swept = ablation(tmp_path, "dataset: digits\nmethod: cladd\nsweep: {dec.clusters: [3]}")
    with pytest.raises(DataError, match=r"unknown method 'cladd'.* did you mean 'clad'"):
        ablation_cells(swept, DIGITS)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda p: p.stem)
def test_every_ablation_of_the_repository_sweeps_known_keys(path, monkeypatch):
    """On the digits, since the others need not be here."""
    found = read_ablation(path)
    assert {*found.scenarios} - {"all"} <= {*SCENARIOS[found.dataset]}
    here = {"dataset": "digits", "method": "clad", "scenarios": list(SCENARIOS["digits"])}
    points = ablation_cells(found.model_copy(update=here), DIGITS)
    assert len({cell.key for _, cell in points}) == len(points) >= 9
