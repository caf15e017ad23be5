"""The arrows of the house: what may import what, and that importing does nothing."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clad"
FILES = sorted(PACKAGE.rglob("*.py"))

# A line may import the lines above it and itself is a level: nothing in it imports a neighbour.
# A folder is one unit, free inside, except for the stages.
ORDER = """
errors
config runtime metrics scoremap
recipes
threshold training artifact data health thumbnails
stages calibration checkpoints budget reading
configurable model
tiled attribution baselines learning
detector
pipeline
provenance scorefile review exhibits monitor signing
report
benchmark
cli
"""
# Narrower than the order says.
ONLY = {
    "config": {"errors"},
    "recipes": {"errors", "config"},
    "runtime": {"errors"},
    "metrics": {"errors"},
    "scoremap": set(),
    "threshold": {"errors", "metrics"},
    "training": {"errors", "runtime"},
    "artifact": {"errors"},
    "health": {"errors"},
    "checkpoints": {"errors", "artifact"},
    "budget": {"errors", "config", "recipes", "runtime", "data.images"},
    "signing": {"errors", "artifact"},
    "thumbnails": set(),
    "data": {"errors", "runtime"},
    "baselines": {"errors", "runtime", "training", "data.images", "stages"},
    "stages": {"errors", "runtime", "training", "data.images", "data.defects"},
}
# Stages stand alone; arrays cross the border. These may use each other.
STAGES = {
    "autoencoder": {"augmentation", "contrastive", "transformations"},
    "dec": {"augmentation", "kmeans", "graph"},
    "graph": {"kmeans"},
    "classifier": {"augmentation", "graph", "kmeans", "muon", "resnet", "transformations"},
    "colours": {"augmentation", "classifier", "transformations"},
    "resnet": {"convolution"},
    "neighbours": {"transformations"},
    "fused": {"neighbours", "patches", "transformations"},
    "patches": {"kmeans"},
    "layers": {"augmentation"},
}
LEVEL = {unit: i for i, line in enumerate(ORDER.strip().splitlines()) for unit in line.split()}


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def modules_imported(path):
    """Every module of this package that a file imports, inside functions and type checks too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = PACKAGE.parent / Path(*node.module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                names.add(f"{node.module}.{alias.name}" if is_module else node.module)
    inside = {name.partition(".")[2] for name in names if name.split(".")[0] == "clad"}
    return inside - {""}  # clad itself: its version


def allowed(importer, imported):
    unit, other = importer.split(".")[0], imported.split(".")[0]
    if unit == other:
        stage, used = importer.split(".")[-1], imported.split(".")[-1]
        return unit != "stages" or used in {"layers", *STAGES.get(stage, ())}
    if LEVEL[other] >= LEVEL[unit]:
        return False
    return unit not in ONLY or other in ONLY[unit] or imported in ONLY[unit]


def test_every_module_has_its_place():
    units = {name_of(path).split(".")[0] for path in FILES} - {""}
    assert units == set(LEVEL)
    stages = {path.stem for path in (PACKAGE / "stages").glob("*.py")}
    assert {"layers", "autoencoder", "kmeans", "dec", "classifier", "odin"} <= stages


@pytest.mark.parametrize("path", FILES, ids=lambda p: name_of(p) or "clad")
def test_nothing_points_back(path):
    importer = name_of(path)
    if not importer:  # clad/__init__.py gives the class its public name
        assert modules_imported(path) == {"pipeline"}
        return
    wrong = {name for name in modules_imported(path) if not allowed(importer, name)}
    assert not wrong, f"{importer} imports {', '.join(sorted(wrong))}"


def test_the_rule_knows_a_wrong_arrow():
    assert allowed("stages.dec", "stages.kmeans")
    assert allowed("stages.odin", "stages.layers")
    assert allowed("stages.odin", "data.images")
    assert allowed("cli.run", "benchmark.runs")
    for importer, imported in [
        ("stages.odin", "stages.classifier"),
        ("stages.kmeans", "stages.dec"),
        ("stages.dec", "data.folder"),
        ("stages.dec", "config"),
        ("data.folder", "stages.layers"),
        ("artifact", "data.images"),
        ("runtime", "config"),
        ("pipeline", "benchmark.runs"),
        ("report.plots", "cli.main"),
        ("report.plots", "benchmark.runs"),
    ]:
        assert not allowed(importer, imported), (importer, imported)


# --- importing does nothing --------------------------------------------------------------------

HEAVY = {"torch", "torchvision", "sklearn", "matplotlib", "faiss", "scipy", "pydantic", "PIL"}


def imported_by(statement):
    """The top-level modules in memory after a statement, and its seconds, in a fresh Python."""
    code = (
        "import json, sys, time; start = time.perf_counter()\n"
        f"{statement}\n"
        "seconds = time.perf_counter() - start\n"
        "print(json.dumps([seconds, sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert out.stderr == ""
    seconds, modules = json.loads(out.stdout)
    return seconds, set(modules)


def test_import_clad_is_quick_and_loads_nothing():
    runs = [imported_by("import clad") for _ in range(5)]
    assert all(not modules & (HEAVY | {"numpy", "click"}) for _, modules in runs)
    assert min(seconds for seconds, _ in runs) < 0.3


def test_the_command_line_loads_nothing_heavy():
    _, modules = imported_by("import clad.cli")
    assert not modules & HEAVY


def test_the_class_comes_with_its_name():
    _, modules = imported_by("from clad import CLAD; assert CLAD.__name__ == 'CLAD'")
    assert {"torch", "sklearn"} <= modules
    assert "matplotlib" not in modules


def test_a_model_loads_without_what_only_training_needs(tmp_path):
    with zipfile.ZipFile(ROOT / "tests" / "fixtures" / "model-format4.zip") as archive:
        archive.extractall(tmp_path)
    (folder,) = (path.parent for path in tmp_path.rglob("manifest.json"))
    load = f"from clad import CLAD; CLAD.load({str(folder)!r}, device='cpu')"
    _, modules = imported_by(f"{load}; assert 'torch._dynamo' not in sys.modules")
    assert "torchvision" not in modules


def test_an_unknown_name():
    import clad

    with pytest.raises(AttributeError, match="module 'clad' has no attribute 'KLAD'"):
        clad.KLAD  # noqa: B018


# --- nothing is unpickled ----------------------------------------------------------------------

UNPICKLERS = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
CALLS = {
    "torch.load",
    "torch.hub.load",
    "np.fromfile",
    "pd.read_pickle",
    "yaml.load",
    "eval",
    "exec",
}


def unpickling(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] in UNPICKLERS:
                yield node.module
            if node.module == "torch":
                yield from (a.name for a in node.names if a.name == "load")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS or name.endswith((".read_pickle", ".unsafe_load", ".full_load")):
                yield name
            for keyword in node.keywords:
                if keyword.arg in ("allow_pickle", "weights_only") and (
                    ast.unparse(keyword.value) != "False"
                ):
                    yield keyword.arg


@pytest.mark.parametrize("path", FILES, ids=lambda p: name_of(p) or "clad")
def test_nothing_is_unpickled(path):
    assert list(unpickling(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(p)",
        "from torch import load",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "yaml.load(t)",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert list(unpickling(source))
