"""The configuration: typed, frozen models that mirror the YAML one to one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clad.errors import ConfigError

Schedule = Literal["constant", "one-cycle"]
Side = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _seconds(value: Any) -> Any:
    """``90s``, ``5m`` and ``1.5h`` in seconds."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d*)?) ?([smh])", value.strip())
    if found is None:
        raise ValueError("write it as 90s, 5m or 1.5h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Runtime(_Section):
    """Where to compute. Does not change what is learnt beyond rounding."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto: bfloat16 where it is native, but float32 for stage 4's scores of small "
        "images; bfloat16: these too, on every machine",
    )
    threads: int | None = Field(None, ge=1)


class Images(_Section):
    """The form every image is brought into before training and before scoring."""

    size: tuple[Side, Side] | None = Field(
        None, description="(height, width) in pixels; null: as they are, at most 64 a side"
    )
    channels: Literal[1, 3] | None = Field(None, description="null: as they are")


class Tiles(_Section):
    """Large images: cut into tiles, each an image to the four stages (docs/tiles.md)."""

    size: Literal["auto"] | Annotated[int, Field(ge=6)] | None = Field(
        None, description="pixels a side; auto: at most 64, as the images allow; null: no tiles"
    )
    overlap: float = Field(0.25, ge=0, le=0.9, description="share of a tile's side, at least")
    samples: int = Field(3000, ge=2, description="tiles to train on, drawn from all images")
    score: Literal["local", "stages"] = Field(
        "local", description="of a tile: of its least normal cell; or stage 4's, of the whole tile"
    )
    top: int = Field(1, ge=1, description="an image's score: mean of so many tiles, 1: the highest")
    regions: int = Field(
        1, ge=1, description="aligned images: scores against each of regions x regions places"
    )


class Local(_Section):
    """Stage 4 for large images (tiles.score: local): a network that finds painted defects."""

    crops: int = Field(6000, ge=2, description="to train on, drawn from all images")
    width: int = Field(24, ge=1)
    epochs: int = Field(12, ge=2)
    batch_size: int = Field(16, ge=2)
    learning_rate: float = Field(3e-3, gt=0)


class Calibration(_Section):
    """Normal images held out of training, whose scores set the threshold."""

    method: Literal["split", "cross"] = Field(
        "split", description="cross: nothing is held out, folds are trained apart; no proof"
    )
    fraction: float = Field(0.1, gt=0, le=0.5, description="split: share of the normal images")
    minimum: int = Field(200, ge=1, description="split: images, if the data allow (at most half)")
    folds: int = Field(5, ge=2, description="cross: models trained beside the final one")


class Validation(_Section):
    """Normal images that stage 3 does not train on, by which stage 4 weighs its scores."""

    fraction: float = Field(0.1, ge=0, le=0.5, description="of those not held for calibration")
    maximum: int = Field(1000, ge=2, description="images, however many there are")


class Augment(_Section):
    """Changes of a training image that leave what it shows the same; 0 and false: none."""

    crop: float = Field(0.1, ge=0, lt=0.5, description="largest shift, share of the side")
    flip: Literal["auto"] | bool = Field(
        "auto",
        description="left and right swapped, every other time; "
        "auto: where mirror images look as normal as the images do",
    )
    rotation: float = Field(0.0, ge=0, le=45, description="largest turn in degrees")
    brightness: Literal["auto"] | Share = Field(
        "auto", description="auto: 0.9 where light varies among the normal images, else 0.3"
    )
    contrast: Literal["auto"] | Share = Field("auto", description="auto: as brightness")
    saturation: float = Field(0.3, ge=0, le=1)


class Autoencoder(_Section):
    """Stage 1."""

    architecture: Literal["cvae", "cvae_large"] = "cvae"
    latent_dim: int = Field(32, ge=1)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Schedule = "constant"
    denoise: bool = Field(True, description="restore an image from an augmented copy of it")
    turns: float = Field(0.0, ge=0, description="weight of telling turns by the latent")
    contrastive: float = Field(
        0.0, ge=0, description="weight of telling copies of one image from other images"
    )


class Dec(_Section):
    """Stage 2; ``epochs: 0`` leaves plain k-means on the latents."""

    clusters: Literal["auto"] | Annotated[int, Field(ge=2)] = Field(
        "auto", description="auto: by a neighbour graph; a number: that many by k-means"
    )
    alpha: float = Field(1.0, gt=0, description="degrees of freedom of the Student-t kernel")
    agreement: float = Field(
        0.85,
        ge=0,
        le=1,
        description="auto: one cluster instead where augmented copies agree less (Rand index)",
    )
    epochs: int = Field(5, ge=0)
    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    tolerance: float = Field(0.001, ge=0, lt=1, description="share of labels; fewer change: stop")
    reconstruction_weight: float = Field(0.0, ge=0, description="over 0: IDEC")
    restarts: int = Field(10, ge=1, description="of k-means")


class Classifier(_Section):
    """Stage 3."""

    network: Literal["resnet8", "resnet18"] = Field(
        "resnet8", description="resnet8: fewer, wider layers, learns more in as many minutes"
    )
    stem: Literal["auto", "torchvision", "small", "small-stride"] = Field(
        "auto", description="auto: torchvision from 48 pixels a side, else small-stride"
    )
    # Under 16 channels oneDNN's strided 1x1 convolution writes out of bounds in its backward pass:
    # github.com/uxlfoundation/oneDNN/issues/6035
    width: int = Field(32, ge=16)
    epochs: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="auto: as many as show it 200,000 images of 32x32 "
        "(of 64x64 with the torchvision stem), from 5 to 60",
    )
    batch_size: int = Field(256, ge=2)
    optimizer: Literal["adamw", "muon"] = Field(
        "muon", description="muon: learns more of as many images"
    )
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Schedule = "one-cycle"
    rotations: Literal["auto", 1, 2, 4] = Field(
        "auto", description="tell the turn beside the cluster; auto: 4, or 2 if not square"
    )
    mirror: Literal["auto"] | bool = Field(
        "auto",
        description="tell mirror images too; "
        "auto: where turns are told and augment.flip shows none as the same",
    )
    recolour: Literal["auto"] | bool = Field(
        "auto",
        description="tell images with red and blue exchanged too (score.colours: apart); "
        "auto: in the place of the turns, where normal images have no way up",
    )
    rounds: int = Field(
        2, ge=1, description="that share the epochs; before each but the first, clusters anew"
    )
    agreement: float = Field(
        0.75,
        ge=0,
        le=1,
        description="no clusters anew that those of augmented copies agree less with (Rand index)",
    )


class Odin(_Section):
    """Stage 4."""

    temperature: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        1000.0, description="auto: the one that makes held-out normal images likeliest"
    )
    perturbation: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        1e-4,
        description="in units of the pixel range; "
        "auto: the one that raises the confidence of held-out normal images most",
    )


class Score(_Section):
    """Which anomaly score decides; ODIN's confidence is reported whichever it is."""

    method: Literal[
        "fused",
        "logits",
        "energy",
        "turns",
        "features",
        "texture",
        "patches",
        "colours",
        "neighbours",
        "odin",
    ] = Field("fused", description="fused: of logits, features, texture, patches and colours")
    colours: Literal["auto"] | bool = Field(
        "auto",
        description="a second network tells images from those with red and blue exchanged, a part "
        "of the fused score; auto: where images have three channels",
    )
    limit: int = Field(5000, ge=2, description="normal images whose features are kept")


class Threshold(_Section):
    """How normal scores become a decision."""

    method: Literal[
        "conformal",
        "conformal-pac",
        "mondrian",
        "bh",
        "pot",
        "quantile",
        "gaussian",
        "mad",
        "iqr",
        "kde",
        "synthetic-f1",
        "manual",
    ] = "conformal"
    alpha: float = Field(0.05, gt=0, lt=1, description="the false-alarm rate to keep")
    delta: float = Field(0.05, gt=0, lt=1, description="conformal-pac: its chance of failing")
    whisker: float = Field(1.5, gt=0, description="iqr: interquartile ranges over the quartile")
    value: float | None = Field(None, description="manual: the threshold itself")


class Config(_Section):
    """Everything that decides what a detector learns."""

    seed: int = Field(0, ge=0)
    budget: Annotated[float, BeforeValidator(_seconds), Field(gt=0)] | None = Field(
        None, description="time for a fit, in seconds or as 90s, 5m, 1.5h; chooses the epochs"
    )
    runtime: Runtime = Runtime()
    images: Images = Images()
    tiles: Tiles = Tiles()
    local: Local = Local()
    calibration: Calibration = Calibration()
    validation: Validation = Validation()
    augment: Augment = Augment()
    autoencoder: Autoencoder = Autoencoder()
    dec: Dec = Dec()
    classifier: Classifier = Classifier()
    odin: Odin = Odin()
    score: Score = Score()
    threshold: Threshold = Threshold()

    def to_yaml(self) -> str:
        """This configuration as YAML that :func:`load` reads back to the same."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def build(values: Mapping[str, Any], source: str = "configuration") -> Config:
    """Check ``values`` and build the configuration.

    Raises ConfigError naming the key, the value and what is allowed; for an unknown key, the
    nearest known one.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e, source) for e in error.errors())) from None


def build_saved(values: Mapping[str, Any], source: str) -> Config:
    """The configuration of a saved model; raises as ``build``.

    Before format 6 it does not name its network, which was always the ResNet-18. Other keys that an
    older one lacks matter to training alone, so today's defaults do for them.
    """
    stage3 = values.get("classifier")
    if isinstance(stage3, Mapping):
        values = {**values, "classifier": {"network": "resnet18", **stage3}}
    return build(values, source)


def _explain(error: Any, source: str) -> str:
    location = [str(part) for part in error["loc"]][:2]  # deeper: members of a union or tuple
    key = ".".join(location)
    section: Any = Config
    for part in location[:-1]:
        section = section.model_fields[part].annotation
    if error["type"] == "extra_forbidden":
        known = list(section.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"{source}: {key}: unknown key; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    field = section.model_fields.get(location[-1])
    bounds = [
        f"{sign} {getattr(bound, name)}"
        for bound in (field.metadata if field else ())
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(bound, name)
    ]
    if len(bounds) > 1:  # the message names the one that is broken
        message += f" (allowed: {' and '.join(bounds)})"
    return f"{source}: {key} = {error['input']!r}: {message}"
