"""Coverage-guided fuzzing of what reads files of strangers; needs: pip install '.[fuzz]'.

    python benchmarks/fuzz.py [--runs 250000] [--seconds 600] [image] [config] [manifest] [archive]

Each target starts from good files and ends after so many runs or seconds; exit status 1 where
anything but the package's own errors came out. A row a target and seed in results/fuzz.csv; another
--seed adds executions to those there are.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import click
from records import ROOT, read_rows, write_rows

sys.path.insert(0, str(ROOT / "tests"))
TARGETS = ("image", "config", "manifest", "archive")
FILE = ROOT / "results" / "fuzz.csv"


def reader(target, folder):
    """A function of bytes that reads them as a user's file."""
    if target == "image":
        from clad.data.decode import decode, read_header

        def read(data):
            read_header(io.BytesIO(data))
            decode(io.BytesIO(data))

        return read

    file = folder / {"config": "c.yaml", "manifest": "manifest.json", "archive": "a"}[target]
    if target == "config":
        from clad.recipes import load

        use = load
    elif target == "manifest":
        from clad.artifact import read_bundle

        def use(_):
            read_bundle(folder)
    else:
        from clad.data.archives import extract
        from clad.data.tree import Tree
        from clad.errors import DataError

        def use(path):
            try:
                with Tree(path) as tree:
                    for name in tree.names:
                        tree.open(name).read()
            except DataError:
                pass  # a tar is no tree
            shutil.rmtree(extract(path, folder / "out"))

    def read(data):
        file.write_bytes(data)
        use(file)

    return read


def seeds(target, folder):
    """Good files to start from."""
    from faults import archives, images

    if target == "image":
        for file in images.odd():
            (folder / file.name).write_bytes(file.content)
    elif target == "config":
        for path in (ROOT / "configs").rglob("*.yaml"):
            (folder / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    elif target == "manifest":
        from clad.artifact import Bundle, write_bundle

        write_bundle(folder, Bundle({}, {"kind": "clad", "names": ["a", "b"], "rate": 1e-5}))
    else:
        for name, write in archives.ATTACKS.items():
            write(folder / name)
            if (folder / name).stat().st_size > 20_000:
                (folder / name).unlink()
        with zipfile.ZipFile(folder / "good.zip", "w") as archive:
            archive.writestr("train/a/1.png", b"pixels")


def fuzz(target, corpus, flags):
    """Never returns: libFuzzer ends the process."""
    import warnings

    import atheris

    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["clad", "yaml", "PIL", "zipfile", "tarfile", "json"]):
        from clad.data.decode import strict_pillow
        from clad.errors import CladError
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with atheris.instrument_imports(include=["clad", "yaml", "PIL", "zipfile", "tarfile", "json"]):
        read = reader(target, folder)

    def once(data):
        try:
            read(data)
        except CladError as error:
            str(error)  # the message, too, can be made

    atheris.Setup([sys.argv[0], *flags, str(corpus)], once)
    with strict_pillow():
        atheris.Fuzz()


@click.command()
@click.argument("targets", nargs=-1, type=click.Choice(TARGETS))
@click.option("--runs", default=250_000, show_default=True, help="Of each target.")
@click.option("--seconds", default=600, show_default=True, help="The longest for each target.")
@click.option("--seed", default=1, show_default=True)
@click.option("--child", is_flag=True, hidden=True)
@click.option("--corpus", type=click.Path(path_type=Path), hidden=True)
def main(targets, runs, seconds, seed, child, corpus):
    """Fuzz what reads files of strangers."""
    flags = [f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=30"]
    flags += ["-rss_limit_mb=3000", "-max_len=20000", f"-artifact_prefix={tempfile.gettempdir()}/"]
    if child:
        fuzz(targets[0], corpus, flags)
    from clad.provenance import commit, versions

    rows, failed = {(row["target"], int(row["seed"])): row for row in read_rows(FILE)}, False
    for target in targets or TARGETS:
        with tempfile.TemporaryDirectory() as name:
            seeds(target, Path(name))
            command = [sys.executable, __file__, target, "--child", "--corpus", name]
            command += ["--runs", str(runs), "--seconds", str(seconds), "--seed", str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        counts = re.findall(r"^#(\d+)|Done (\d+) runs", done.stderr, re.MULTILINE)
        executed = max((int(a or b) for a, b in counts), default=0)
        click.echo(f"{target}: {executed} executions, exit status {done.returncode}")
        if done.returncode:
            failed = True
            click.echo(done.stdout[-2000:] + done.stderr[-2000:])
        rows[target, seed] = {
            **{"target": target, "executions": executed, "escaped": int(done.returncode != 0)},
            **{"seed": seed, "python": versions()["python"], "commit": commit()},
        }
        write_rows(FILE, [rows[key] for key in sorted(rows)])
    total = sum(int(row["executions"]) for row in rows.values())
    click.echo(f"{total} executions in all rows")
    sys.exit(failed)


if __name__ == "__main__":
    main()
