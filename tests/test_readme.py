"""The README's table is what the rows in the repository say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_readmes_table_is_the_rows_in_the_repository(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "readme_table.py"))
    rows = script["read_rows"](script["ROWS"])
    assert rows
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    written = readme.partition(script["START"])[2].partition(script["END"])[0]
    assert written.strip() == script["table"](rows)


def test_every_script_the_readme_names_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {word.strip("`(),.;") for word in readme.split() if "scripts/" in word}
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
