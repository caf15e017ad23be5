"""The tables of README and docs are what the rows in the repository say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_are_the_rows_in_the_repository(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "readme_table.py"))
    for name, (file, table) in script["tables"]().items():
        start, end = script["markers"](name)
        assert table.count("\n") > 1, name
        text = file.read_text(encoding="utf-8")
        assert text.partition(start)[2].partition(end)[0].strip() == table, name


def test_every_script_the_readme_names_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {word.strip("`(),.;") for word in readme.split() if "scripts/" in word}
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
