"""Tables by hand: means, deviations, marks, and what is never averaged."""

import pytest

from clad.benchmark.cells import METHODS
from clad.benchmark.paper import printed
from clad.benchmark.tables import table
from clad.errors import DataError


def rows(method, aurocs, scenario="CUR", setting="a", dataset="mnist", **changes):
    return [
        {
            **{"dataset": dataset, "scenario": scenario, "method": method, "setting": setting},
            **{"seed": seed, "error": None, "auroc": value, "fpr95": 1 - value},
            **{"false_alarm_rate": 0.05, "auroc_by_class": {"1": value, "2": 0.4}, **changes},
        }
        for seed, value in enumerate(aurocs)
    ]


def cells(text):
    head, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
    )
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_means_deviations_marks_and_the_papers_number():
    found = cells(
        table(
            rows("clad", [0.9, 0.92, 0.94]) + rows("ocsvm", [0.7]) + rows("reconstruction", [0.8])
        )
    )
    assert found == [
        {
            "data set": "mnist",
            "normal": "CUR",
            "clad": "**92.0** ± 2.0 (3)",
            "reconstruction": "*80.0* (1)",
            "ocsvm": "70.0 (1)",
            "paper's clad (one seed)": "94.0",
            "paper's ocsvm (one seed)": "69.9",
        }
    ]


def test_lower_is_better_for_some_and_false_alarms_have_no_best():
    both = rows("clad", [0.9]) + rows("ocsvm", [0.7])
    (line,) = cells(table(both, "fpr95"))
    assert (line["clad"], line["ocsvm"]) == ("**10.0** (1)", "*30.0* (1)")
    (line,) = cells(table(both, "false_alarm_rate"))
    assert (line["clad"], line["ocsvm"]) == ("5.0 (1)", "5.0 (1)")
    (line,) = cells(table(both, "below_chance"))
    assert line["clad"] == "50.0 (1)"


def test_ties_share_their_mark_and_one_method_has_none():
    (line,) = cells(
        table(rows("clad", [0.9]) + rows("ocsvm", [0.9]) + rows("reconstruction", [0.5]))
    )
    assert (line["clad"], line["ocsvm"], line["reconstruction"]) == (
        "**90.0** (1)",
        "**90.0** (1)",
        "*50.0* (1)",
    )
    assert cells(table(rows("clad", [0.9])))[0]["clad"] == "90.0 (1)"


def test_settings_are_never_averaged():
    (line,) = cells(table(rows("clad", [0.9]) + rows("clad", [0.5], setting="b")))
    assert line["clad (a)"] == "**90.0** (1)"
    assert line["clad (b)"] == "*50.0* (1)"


def test_a_recipe_a_data_set_is_one_column_until_one_has_two():
    some = rows("clad", [0.9]) + rows("clad", [0.8], "THG", "b", "cifar10")
    assert [line["clad"] for line in cells(table(some))] == ["90.0 (1)", "80.0 (1)"]
    some += rows("clad", [0.7], setting="c")
    mnist, cifar = cells(table(some))
    assert list(mnist.values())[2:5] == ["**90.0** (1)", "", "*70.0* (1)"]
    assert list(cifar.values())[2:5] == ["", "80.0 (1)", ""]


def test_columns_of_an_ablation_say_what_was_swept_in_its_order():
    """Whichever cell was done first; the setting is named where one point was run under two."""
    swept = [
        rows("clad", [auroc], setting=setting, sweep={"dec.clusters": k, "odin.temperature": t})
        for k, t, auroc, setting in (
            ("auto", 1, 0.9, "d"),
            (10, 1000, 0.8, "c"),
            (10, 1, 0.6, "b"),
            (2, 1000, 0.7, "a"),
            (2, 1000, 0.5, "e"),
        )
    ]
    some = rows("ocsvm", [0.5]) + [row for one in swept for row in one]
    (line,) = cells(table(some))
    assert list(line.items())[2:8] == [
        ("clad, dec.clusters = 2, odin.temperature = 1000 (a)", "70.0 (1)"),
        ("clad, dec.clusters = 2, odin.temperature = 1000 (e)", "50.0 (1)"),
        ("clad, dec.clusters = 10, odin.temperature = 1", "60.0 (1)"),
        ("clad, dec.clusters = 10, odin.temperature = 1000", "*80.0* (1)"),
        ("clad, dec.clusters = auto, odin.temperature = 1", "**90.0** (1)"),
        ("ocsvm", "50.0 (1)"),
    ]


def test_a_point_of_an_ablation_is_one_column_on_all_data_sets():
    some = rows("clad", [0.9], setting="a", sweep={"variant": "default"})
    some += rows("clad", [0.7], "THG", "b", "cifar10", sweep={"variant": "default"})
    some += rows("clad", [0.8], setting="c", sweep={"variant": "one round"})
    mnist, cifar = cells(table(some))
    assert list(mnist.items())[2:4] == [
        ("clad, variant = default", "**90.0** (1)"),
        ("clad, variant = one round", "*80.0* (1)"),
    ]
    assert list(cifar.values())[2:4] == ["70.0 (1)", ""]


def test_scenarios_in_the_papers_order():
    some = [
        *rows("clad", [0.5], "one-class:3"),
        *rows("clad", [0.5], "THG", dataset="cifar10"),
        *rows("clad", [0.5], "MIX"),
        *rows("clad", [0.5], "CUR"),
    ]
    assert [line["normal"] for line in cells(table(some))] == ["CUR", "MIX", "one-class:3", "THG"]


def test_a_mean_stands_under_the_one_class_lines():
    """Seed by seed: (90 + 70) / 2 and (92 + 72) / 2; of ocsvm one class is missing."""
    some = [
        *rows("clad", [0.9, 0.92], "one-class:0"),
        *rows("clad", [0.7, 0.72, 0.9], "one-class:1"),
        *rows("ocsvm", [0.5], "one-class:0"),
        *rows("clad", [0.5], "MIX"),
    ]
    lines = cells(table(some))
    assert [line["normal"] for line in lines] == [
        *("MIX", "one-class:0", "one-class:1", "one-class, mean of 2"),
    ]
    assert lines[-1]["clad"] == "81.0 ± 1.4 (2)"
    assert lines[-1]["ocsvm"] == ""
    assert lines[-1]["paper's clad (one seed)"] == f"{(96.3 + 97.9) / 2:.1f}"
    assert len(cells(table(rows("clad", [0.9], "one-class:0")))) == 1, "one class has no mean"


def test_the_papers_tables_are_whole():
    """Six methods on 16 scenarios and on 20 single classes; some numbers from its pages."""
    assert len(printed()) == 6 * (16 + 20)
    assert printed()["gtsrb", "REGN", "clad"] == 79.1
    assert printed()["mnist", "one-class:8", "clad"] == 80.0
    assert {method for *_, method in printed()} <= set(METHODS)


def test_what_the_paper_does_not_print_has_no_column():
    (line,) = cells(table(rows("clad", [0.9], "mine", dataset="own")))
    assert list(line) == ["data set", "normal", "clad"]
    (line,) = cells(table(rows("clad:paper", [0.9])))
    assert line["paper's clad (one seed)"] == "94.0"


def test_formats():
    some = rows("clad", [0.9]) + rows("ocsvm", [0.7])
    assert table(some, form="csv").splitlines() == [
        "data set,normal,clad,ocsvm,paper's clad (one seed),paper's ocsvm (one seed)",
        "mnist,CUR,90.0 (1),70.0 (1),94.0,69.9",
    ]
    assert "\\begin{tabular}" in table(some, form="latex")
    assert "<table>" in table(some, form="html")


def test_nothing_to_show():
    with pytest.raises(DataError, match="no finished cells"):
        table(rows("clad", [0.9], error="boom"))
    with pytest.raises(DataError, match="unknown column 'auc'; known are auroc"):
        table(rows("clad", [0.9]), "auc")


def test_a_small_test_sets_interval_stands_beside_its_auroc():
    both = rows("clad", [0.9, 0.92], auroc_interval=[0.88, 0.93]) + rows("ocsvm", [0.7])
    (line,) = cells(table(both))
    assert line["clad"] == "**91.0** ± 1.4 (2) [88.0, 93.0]"
    assert line["ocsvm"] == "*70.0* (1)"


def test_by_part():
    parts = {"logits": 0.8, "texture": 0.95}
    both = rows("clad", [0.9, 0.7], auroc_by_part=parts, auroc_interval=[0.6, 1.0])
    (line,) = cells(table(both + rows("ocsvm", [0.3]), by_part=True))
    assert line == {
        "data set": "mnist",
        "normal": "CUR",
        "clad": "*80.0* ± 14.1 (2)",
        "clad: logits": "*80.0* ± 0.0 (2)",
        "clad: texture": "**95.0** ± 0.0 (2)",
        "paper's clad (one seed)": "94.0",
    }
    (line,) = cells(
        table([row | {"auroc_without_part": {"logits": 0.6}} for row in both], by_part=True)
    )
    assert line["clad without logits"] == "60.0 ± 0.0 (2)"
    with pytest.raises(DataError, match="by part there is the AUROC alone, not fpr95"):
        table(both, "fpr95", by_part=True)
    with pytest.raises(DataError, match="no cell among the results has a score that is joined"):
        table(rows("ocsvm", [0.3]), by_part=True)
    with pytest.raises(DataError, match="by class or by part"):
        table(both, by_class=True, by_part=True)


def test_by_class():
    both = rows("clad", [0.9, 0.7]) + rows("ocsvm", [0.3])
    found = cells(table(both, by_class=True))
    assert [(line["anomalous"], line["clad"], line["ocsvm"]) for line in found] == [
        ("1", "**80.0** ± 14.1 (2)", "*30.0* (1)"),
        ("2", "40.0 ± 0.0 (2)", "40.0 (1)"),
    ]
    with pytest.raises(DataError, match="by class there is the AUROC alone, not fpr95"):
        table(both, "fpr95", by_class=True)
