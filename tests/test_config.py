"""The configuration: to YAML and back, the authors' numbers, and errors that say what to write."""

import csv
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from clad import config
from clad.config import Config, build
from clad.errors import ConfigError
from clad.recipes import load, merge, override, preset, read_values

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / ".." / "shared" / "reference" / "paper_recipes.csv"
FILES = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.parent.name != "ablation")

# --- to YAML and back --------------------------------------------------------------------------

rates = st.floats(1e-12, 0.999)
counts = st.integers(2, 10**6)
SECTIONS = {
    "runtime": {
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
        "precision": st.sampled_from(["auto", "float32", "bfloat16"]),
        "threads": st.none() | counts,
    },
    "images": {
        "size": st.none() | st.tuples(st.integers(8, 512), st.integers(8, 512)),
        "channels": st.sampled_from([None, 1, 3]),
    },
    "calibration": {"fraction": st.floats(1e-3, 0.5), "minimum": counts},
    "autoencoder": {
        "architecture": st.sampled_from(["cvae", "cvae_large"]),
        "latent_dim": counts,
        "learning_rate": rates,
        "schedule": st.sampled_from(["constant", "one-cycle"]),
    },
    "dec": {"clusters": counts, "epochs": st.integers(0, 9), "momentum": rates, "tolerance": rates},
    "classifier": {"width": st.sampled_from([16, 32, 64]), "weight_decay": rates},
    "odin": {"temperature": st.floats(1e-6, 1e6), "perturbation": rates},
    "threshold": {"alpha": rates, "value": st.none() | st.floats(-1e300, 1e300)},
}
configurations = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63),
        **{name: st.fixed_dictionaries({}, optional=keys) for name, keys in SECTIONS.items()},
    },
)


@settings(deadline=None, max_examples=60)
@given(configurations)
def test_yaml_round_trip(values):
    built = build(values)
    assert build(yaml.safe_load(built.to_yaml())) == built


def test_yaml_mirrors_the_models(tmp_path):
    (tmp_path / "a.yaml").write_text(build({"odin": {"perturbation": 1e-5}}).to_yaml())
    assert load(tmp_path / "a.yaml").odin.perturbation == 1e-5
    written = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert list(written) == list(Config.model_fields)
    for name, section in written.items():
        if isinstance(section, dict):
            assert list(section) == list(type(getattr(Config(), name)).model_fields)


def test_frozen():
    built = Config()
    with pytest.raises(ValidationError, match="frozen"):
        built.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        built.odin.temperature = 1.0
    assert hash(built) == hash(Config())


# --- the files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_recipe_loads(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for scenario in [None, *values.get("scenarios", {})]:
        built = load(path, scenario)
        for section, keys in merge({}, values).items():
            if section != "scenarios" and scenario is None and isinstance(keys, dict):
                for key, value in keys.items():
                    kept = getattr(getattr(built, section), key)
                    same = list(kept) if isinstance(kept, tuple) else kept
                    assert same == (float(value) if isinstance(kept, float) else value)


def recipes():
    if not RECIPES.is_file():
        return []
    with RECIPES.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not recipes(), reason="../shared/reference/paper_recipes.csv is not here")
def test_the_paper_preset_is_what_the_authors_released():
    assert len(recipes()) == 18
    for row in recipes():
        path, scenario = preset("paper", row["dataset"]), row["scenario"]
        built = load(path, "one-class:3" if scenario == "one-class" else scenario)
        found = (
            built.autoencoder.architecture,
            built.dec.clusters,
            built.autoencoder.latent_dim,
            built.odin.temperature,
            built.odin.perturbation,
            built.classifier.learning_rate,
        )
        released = (
            row["autoencoder"],
            int(row["clusters"]),
            int(row["latent_dim"]),
            float(row["temperature"]),
            float(row["perturbation"]),
            float(row["classifier_lr"]),
        )
        assert found == released, f"{row['dataset']} {scenario}"
        assert (built.classifier.stem, built.classifier.width) == ("torchvision", 64)
        assert (built.autoencoder.batch_size, built.classifier.batch_size) == (512, 128)
        assert (built.dec.learning_rate, built.dec.momentum, built.dec.alpha) == (0.01, 0.9, 1.0)


def test_preset_finds_the_recipe_or_says_what_to_do():
    assert preset("default", "mnist") == ROOT / "configs" / "mnist.yaml"
    assert preset("paper", "mnist") == ROOT / "configs" / "paper" / "mnist.yaml"
    with pytest.raises(ConfigError, match="no paper preset for 'digits'; give --config FILE"):
        preset("paper", "digits")


def test_a_scenarios_own_keys_lie_over_the_common_ones(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "dec: {clusters: 5, epochs: 3}\n"
        "scenarios:\n"
        "  CUR: {dec: {clusters: 7}}\n"
        "  one-class: {odin: {temperature: 2}}\n"
        "  STR:\n"
    )
    assert (load(file).dec.clusters, load(file).dec.epochs) == (5, 3)
    assert (load(file, "CUR").dec.clusters, load(file, "CUR").dec.epochs) == (7, 3)
    assert load(file, "STR") == load(file, "MIX") == load(file)
    assert load(file, "one-class:8").odin.temperature == 2.0
    assert "scenarios" not in read_values(file)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"autoencodr": {}}, "autoencodr: unknown key; did you mean 'autoencoder'?"),
        ({"dec": {"cluster": 3}}, "dec.cluster: unknown key; did you mean 'clusters'?"),
        ({"odin": {"temprature": 1}}, "odin.temprature: unknown key; did you mean 'temperature'?"),
        ({"odin": {"xyz": 1}}, "odin.xyz: unknown key; known: temperature, perturbation"),
        (
            {"classifier": {"lr": 1}},
            "classifier.lr: unknown key; known: network, stem, width, epochs",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(values, said):
    with pytest.raises(ConfigError, match=re.escape(f"my.yaml: {said}")):
        build(values, "my.yaml")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 0.5, "valid integer"),
        ("runtime.device", "gpu", "match pattern"),
        ("runtime.threads", 0, "greater than or equal to 1"),
        ("runtime.precision", "half", "'auto', 'float32' or 'bfloat16'"),
        ("images.channels", 2, "1 or 3"),
        ("images.size", [0, 8], "greater than or equal to 1"),
        ("images.size", [8], "required"),
        ("images.size", 8, "valid tuple"),
        ("calibration.fraction", 0, "greater than 0"),
        ("calibration.fraction", 0.6, "less than or equal to 0.5"),
        ("calibration.minimum", 0, "greater than or equal to 1"),
        ("autoencoder.architecture", "vae", "'cvae' or 'cvae_large'"),
        ("autoencoder.latent_dim", 0, "greater than or equal to 1"),
        ("autoencoder.epochs", 0, "greater than or equal to 1"),
        ("autoencoder.learning_rate", 0, "greater than 0"),
        ("autoencoder.learning_rate", float("nan"), "finite number"),
        ("autoencoder.schedule", "cosine", "'constant' or 'one-cycle'"),
        ("dec.clusters", 1, "greater than or equal to 2"),
        ("dec.clusters", "many", "valid integer"),
        ("dec.alpha", 0, "greater than 0"),
        ("dec.epochs", -1, "greater than or equal to 0"),
        ("dec.momentum", 1, "less than 1 (allowed: >= 0 and < 1)"),
        ("dec.tolerance", 1, "less than 1"),
        ("dec.reconstruction_weight", -0.1, "greater than or equal to 0"),
        ("dec.restarts", 0, "greater than or equal to 1"),
        ("classifier.stem", "big", "'torchvision', 'small' or 'small-stride'"),
        ("classifier.width", 15, "greater than or equal to 16"),
        ("classifier.weight_decay", -1, "greater than or equal to 0"),
        ("odin.temperature", 0, "greater than 0"),
        ("odin.temperature", float("inf"), "finite number"),
        ("odin.perturbation", -1e-9, "greater than or equal to 0"),
        ("threshold.alpha", 0, "greater than 0"),
        ("threshold.alpha", 1, "less than 1"),
        ("threshold.alpha", "low", "valid number"),
        ("threshold.delta", 1.5, "less than 1"),
        ("threshold.whisker", 0, "greater than 0"),
        ("threshold.method", "sigma", "'conformal', 'conformal-pac'"),
        ("threshold", None, "valid dictionary"),
        ("odin", [1], "valid dictionary"),
    ],
)
def test_a_value_out_of_range_names_key_value_and_range(key, value, said):
    section, _, name = key.partition(".")
    values = {section: {name: value} if name else value}
    with pytest.raises(ConfigError) as caught:
        build(values, "my.yaml")
    message = str(caught.value)
    assert message.startswith(f"my.yaml: {key} = ")
    assert said in message
    assert "\n" not in message


def test_all_mistakes_at_once():
    with pytest.raises(ConfigError, match=r"dec\.alpha = -1: .*; a\.yaml: odin\.tempo: unknown"):
        build({"dec": {"alpha": -1}, "odin": {"tempo": 3}}, "a.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dec: {clusters: [", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("seed: 2020-99-99", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("- 1\n- 2", "should be a mapping of sections, got list"),
        ("just words", "should be a mapping of sections, got str"),
        ("scenarios: [CUR]", "scenarios should be a mapping"),
        ("scenarios: {CUR: 3}", "scenarios.CUR should be a mapping"),
        ("scenarios: {CUR: {dec: {k: 3}}}", "scenarios.CUR: dec.k: unknown key"),
        ("1: 2", "1"),
        ("dec:", "dec = None: input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text, said):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read \(.*No such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match=r"binary\.yaml: cannot be read"):
        load(tmp_path / "binary.yaml")


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load(tmp_path / "empty.yaml") == Config()


# --- --set -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("odin.perturbation=1e-4", "odin.perturbation", 1e-4),
        ("odin.perturbation=0.25", "odin.perturbation", 0.25),
        ("dec.clusters=7", "dec.clusters", 7),
        ("images.size=[16, 24]", "images.size", (16, 24)),
        ("images.size=null", "images.size", None),
        ("classifier.stem=small", "classifier.stem", "small"),
        ("runtime.device=cuda:1", "runtime.device", "cuda:1"),
        (" seed = 5", "seed", 5),
        ("threshold.value=-3E2", "threshold.value", -300.0),
    ],
)
def test_set(assignment, key, value):
    built = build(override({"dec": {"epochs": 3}}, [assignment]))
    assert built.dec.epochs == 3  # other keys stay
    for part in key.split("."):
        built = getattr(built, part)
    assert built == value
    assert type(built) is type(value)


def test_set_again_wins_and_leaves_what_it_was_given():
    values = {"dec": {"clusters": 3}}
    assert override(values, ["dec.clusters=4", "dec.clusters=5"]) == {"dec": {"clusters": 5}}
    assert values == {"dec": {"clusters": 3}}


@pytest.mark.parametrize(
    "assignment", ["dec.clusters", "=3", " =3", "dec.clusters=[", "seed=2020-99-99"]
)
def test_set_that_is_no_assignment(assignment):
    with pytest.raises(ConfigError, match=re.escape(f"--set {assignment!r}")):
        override({}, [assignment])


def test_set_of_an_unknown_key():
    with pytest.raises(ConfigError, match=r"--set: dec\.klusters: unknown key; did you mean"):
        build(override({}, ["dec.klusters=3"]), "--set")


sections = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), sections)


@given(mappings, mappings, mappings)
def test_merge_lays_one_mapping_over_another(a, b, c):
    assert merge(a, {}) == merge({}, a) == merge(a, a) == a
    assert merge(merge(a, b), b) == merge(a, b)
    assert set(merge(a, b)) == set(a) | set(b)
    for key, value in b.items():
        if not isinstance(value, dict):
            assert merge(a, b)[key] == value


def test_every_section_says_what_it_is():
    for name, field in Config.model_fields.items():
        if name not in ("seed", "budget"):
            assert (
                field.annotation.__doc__.strip().endswith(".") or "``" in field.annotation.__doc__
            )
    assert config.Config is Config
