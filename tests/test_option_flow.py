"""Every option on the surface reaches the code that uses it, and changes what is learnt."""

import ast
import inspect
import textwrap

import numpy as np
import pytest
import torch

from clad import budget, learning, model, pipeline, reading, threshold, tiled
from clad.config import Config, build
from clad.recipes import merge
from clad.runtime import Runtime
from clad.stages.augmentation import Augmentation
from clad.stages.autoencoder import Autoencoder
from clad.stages.classifier import Classifier
from clad.stages.colours import Colours
from clad.stages.dec import DEC
from clad.stages.fused import Fused
from clad.stages.kmeans import KMeans
from clad.stages.local import Local
from clad.stages.neighbours import Neighbours
from clad.stages.odin import ODIN

BASE = {
    "seed": 1,
    "runtime": {"device": "cpu", "precision": "float32"},
    "calibration": {"fraction": 0.25, "minimum": 12},
    "validation": {"fraction": 0.1},
    "augment": {"crop": 0.1, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    "autoencoder": {"epochs": 1, "batch_size": 12},
    "dec": {"clusters": 3, "epochs": 2, "batch_size": 12, "tolerance": 0.0, "restarts": 1},
    "classifier": {"width": 16, "epochs": 1, "batch_size": 12, "rotations": 1},
    "odin": {"temperature": 1000.0, "perturbation": 1e-4},
    "score": {"method": "odin", "limit": 20},
    "threshold": {"alpha": 0.2},
}

# A value other than the base's for each key; a new key without one fails the first test.
OTHER = {
    "seed": 2,
    "budget": 3600.0,
    "runtime.device": "auto",
    "runtime.precision": "bfloat16",
    "runtime.threads": 1,
    "images.size": (14, 14),
    "images.channels": 3,
    "tiles.size": 8,
    "tiles.overlap": 0.75,
    "tiles.samples": 90,
    "tiles.score": "stages",
    "tiles.top": 9,
    "tiles.regions": 2,
    "local.crops": 90,
    "local.width": 5,
    "local.epochs": 3,
    "local.batch_size": 6,
    "local.learning_rate": 1e-2,
    "calibration.method": "cross",
    "calibration.folds": 3,
    "calibration.fraction": 0.4,
    "calibration.minimum": 15,
    "validation.fraction": 0.3,
    "validation.maximum": 2,
    "augment.crop": 0.3,
    "augment.flip": True,
    "augment.rotation": 20.0,
    "augment.brightness": 0.7,
    "augment.contrast": 0.7,
    "augment.saturation": 0.7,
    "autoencoder.architecture": "cvae_large",
    "autoencoder.latent_dim": 4,
    "autoencoder.epochs": 2,
    "autoencoder.batch_size": 9,
    "autoencoder.learning_rate": 0.004,
    "autoencoder.schedule": "one-cycle",
    "autoencoder.denoise": False,
    "autoencoder.turns": 0.5,
    "autoencoder.contrastive": 0.5,
    "dec.clusters": 4,
    "dec.agreement": 0.1,
    "dec.alpha": 2.0,
    "dec.epochs": 3,
    "dec.batch_size": 9,
    "dec.learning_rate": 0.04,
    "dec.momentum": 0.4,
    "dec.tolerance": 0.99,
    "dec.reconstruction_weight": 0.3,
    "dec.restarts": 3,
    "classifier.network": "resnet18",
    "classifier.stem": "small",
    "classifier.width": 24,
    "classifier.epochs": 2,
    "classifier.batch_size": 9,
    "classifier.optimizer": "adamw",
    "classifier.learning_rate": 0.004,
    "classifier.weight_decay": 0.5,
    "classifier.schedule": "constant",
    "classifier.rotations": 4,
    "classifier.mirror": True,
    "classifier.recolour": True,
    "classifier.rounds": 1,
    "classifier.agreement": 0.0,
    "odin.temperature": 2.0,
    "odin.perturbation": 0.05,
    "score.method": "fused",
    "score.colours": False,
    "score.limit": 9,
    "threshold.method": "gaussian",
    "threshold.alpha": 0.4,
    "threshold.delta": 0.3,
    "threshold.whisker": 3.0,
    "threshold.value": 0.5,
}
# What a key needs beside it to be looked at.
TILES = {
    "tiles": {"size": 6, "samples": 60},
    "local": {"crops": 24, "width": 4, "epochs": 2, "batch_size": 12},
}
BESIDE = {
    "tiles.overlap": {**TILES, "tiles": {**TILES["tiles"], "top": 9}},
    **{f"tiles.{key}": TILES for key in ("samples", "score", "top", "regions")},
    **{f"local.{key}": TILES for key in ("crops", *TILES["local"], "learning_rate")},
    "calibration.folds": {"calibration": {"method": "cross", "folds": 2}},
    "score.limit": {"score": {"method": "fused"}},
    "score.colours": {"score": {"method": "fused"}, "images": {"channels": 3}},
    "classifier.recolour": {"images": {"channels": 3}},
    "classifier.rounds": {"classifier": {"epochs": 2}},
    "classifier.agreement": {
        "dec": {"clusters": "auto"},
        "classifier": {"rotations": 2, "epochs": 2, "agreement": 1.0},
    },
    # grey pixels have no saturation
    "augment.saturation": {"images": {"channels": 3}},
    "dec.agreement": {"dec": {"clusters": "auto", "epochs": 0}, "classifier": {"rotations": 2}},
    "threshold.delta": {"threshold": {"method": "conformal-pac", "alpha": 0.3}},
    "threshold.whisker": {"threshold": {"method": "iqr"}},
    "threshold.value": {"threshold": {"method": "manual", "value": 0.1}},
}
# Where to compute, and how often k-means looks for a better start, need not change the outcome.
SAME_OUTCOME = {"runtime.device", "runtime.threads", "dec.restarts"}

USERS = {
    "seed": (Runtime, "choose"),
    "budget": (pipeline, "within"),
    "runtime": (Runtime, "choose"),
    "images": (reading, "as_image_set"),
    "tiles": (pipeline, "sample_tiles"),
    "local": (tiled, "Local"),
    "calibration": (pipeline, "fit_calibration_split"),
    "validation": (learning, "validation_split"),
    "augment": (learning, "Augmentation"),
    "autoencoder": (learning, "Autoencoder"),
    "dec": (learning, "DEC"),
    "classifier": (learning, "Classifier"),
    "odin": (model, "ODIN"),
    "score": (model, "Fused"),
    "threshold": (pipeline, "make"),
}
USERS_OF_KEYS = {
    "tiles.size": (pipeline, "tile_side"),
    "tiles.overlap": (tiled, "starts"),
    "tiles.samples": (pipeline, "sample_tiles"),
    "local.crops": (tiled, "sample_tiles"),
    "calibration.method": (pipeline, "calibration_folds"),
    "calibration.folds": (pipeline, "calibration_folds"),
}
# It shows in who is called at all, or beside calls for something else.
CHOICES = {
    *(
        "score.method",
        "score.colours",
        "calibration.method",
        "tiles.score",
        "tiles.top",
        "tiles.regions",
    ),
    *("local.crops", "budget"),
}
CALLED = {"dec.clusters": "n_clusters", "tiles.samples": "n"}


def keys_of(model):
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from (f"{name}.{key}" for key in field.annotation.model_fields)
        else:
            yield name


def nested(key, value):
    section, _, name = key.partition(".")
    return {section: {name: value} if name else value}


@pytest.fixture(autouse=True)
def restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_ones(monkeypatch):
    monkeypatch.setattr(tiled, "CROP", 8)
    monkeypatch.setattr(budget, "MOST", 3)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 90, (48, 12, 12))
    array[::3, :6] += 120
    array[1::3, :, :6] += 120
    return array.astype(np.uint8)


def outcome(config, images):
    if config.dec.clusters == "auto":  # a handful of images is no cluster
        images = np.concatenate([images + np.uint8(shade) for shade in range(4)])
    detector = pipeline.CLAD(config).fit(images)
    return repr((detector.losses_, detector.threshold_, detector.shape_))


def test_every_key_has_another_value():
    assert set(OTHER) == set(keys_of(Config))
    assert set(USERS) == set(Config.model_fields)
    for key, value in OTHER.items():
        section, _, name = key.partition(".")
        built = build(merge(BASE, nested(key, value)))
        kept, before = getattr(built, section), getattr(build(BASE), section)
        assert (getattr(kept, name) if name else kept) == value
        assert (getattr(before, name) if name else before) != value


@pytest.fixture(scope="module")
def before(images):
    """The outcome without the change; most keys share one."""
    known = {}

    def fitted(config):
        if config not in known:
            known[config] = outcome(config, images)
        return known[config]

    return fitted


@pytest.mark.parametrize("key", list(OTHER))
def test_the_value_reaches_its_user_and_counts(key, images, before, monkeypatch):
    section, _, name = key.partition(".")
    base = merge(BASE, BESIDE.get(key, {}))
    unchanged = before(build(base))

    place, attribute = USERS_OF_KEYS.get(key, USERS[section])
    real, calls = getattr(place, attribute), []
    signature = inspect.signature(real)

    def recorder(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        arguments = dict(bound.arguments)
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        calls.append(arguments)
        return real(*args, **kwargs)

    monkeypatch.setattr(place, attribute, recorder)
    after = outcome(build(merge(base, nested(key, OTHER[key]))), images)

    assert calls
    if key not in CHOICES:
        argument = CALLED.get(key, name or section)
        assert [call[argument] for call in calls if argument in call]
        assert all(call[argument] == OTHER[key] for call in calls if argument in call)
    if key not in SAME_OUTCOME:
        assert after != unchanged


def test_odin_alone_asks_no_other_score(images, monkeypatch):
    def never(**_):
        raise AssertionError

    monkeypatch.setattr(model, "Neighbours", never)
    monkeypatch.setattr(model, "Fused", never)
    outcome(build(BASE), images)


def reads(tree):
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


STAGES = [
    *(Augmentation, Autoencoder, KMeans, DEC, Classifier, Colours, ODIN, Neighbours, Fused),
    Local,
]


@pytest.mark.parametrize("stage", [*STAGES, *dict.fromkeys(threshold.RULES.values())])
def test_what_a_constructor_keeps_is_read_elsewhere(stage):
    kept = set(inspect.signature(stage).parameters)
    used = set()
    for owner in stage.__mro__[:-1]:
        if owner.__module__.startswith("clad."):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            for method in tree.body:
                if isinstance(method, ast.FunctionDef) and method.name != "__init__":
                    used |= reads(method)
    assert kept <= used, f"{stage.__name__} never reads {', '.join(sorted(kept - used))}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_constructor_keeps_its_parameters_and_does_nothing_else(stage):
    values = {name: object() for name in inspect.signature(stage).parameters}
    assert vars(stage(**values)) == values


@pytest.mark.parametrize(
    ("section", "stage"),
    [
        ("autoencoder", Autoencoder),
        ("classifier", Classifier),
        ("odin", ODIN),
        ("augment", Augmentation),
    ],
)
def test_a_section_mirrors_its_stage(section, stage):
    parameters = set(inspect.signature(stage).parameters)
    assert set(Config.model_fields[section].annotation.model_fields) == parameters


def test_the_threshold_section_mirrors_the_rules():
    keys = set(Config.model_fields["threshold"].annotation.model_fields)
    known = {
        name for rule in threshold.RULES.values() for name in inspect.signature(rule).parameters
    }
    assert keys - {"method"} <= known
    field = Config.model_fields["threshold"].annotation.model_fields["method"]
    assert list(field.annotation.__args__) == list(threshold.RULES)
