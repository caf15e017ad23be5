"""Rows of results kept as CSV in the repository, appended to one by one."""

import csv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows kept, as text."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict]) -> None:
    """Replace the file by these rows, which share their columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def peak_memory() -> int:
    """Bytes: the most that this process has had resident.

    /proc's: getrusage's is inherited from whoever started the process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kibibytes,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return 1024 * kibibytes


def rows_of(path: Path, setting: str) -> list[dict[str, str]]:
    """The rows kept, which must all be of this setting: others are never averaged with them."""
    rows = read_rows(path)
    others = {row["setting"] for row in rows} - {setting}
    if others:
        raise SystemExit(f"{path}: holds rows of another setting ({others.pop()}); move it away")
    return rows
