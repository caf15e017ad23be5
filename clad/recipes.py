"""Recipes: YAML files of settings, presets, and what is laid over them on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clad.config import Config, build
from clad.errors import ConfigError


def load(path: Path, scenario: str | None = None) -> Config:
    """Read a YAML file.

    A file may hold a mapping ``scenarios``: keys that differ for one scenario (the authors'
    released settings do). ``one-class`` there stands for every ``one-class:<label>``.
    """
    return build(read_values(path, scenario), str(path))


def preset(name: str, dataset: str) -> Path:
    """The YAML file of a data set's recipe: ``default`` or ``paper`` (the authors' settings)."""
    package = Path(__file__).parent
    # installed, the recipes lie inside the package; in a checkout, beside it
    folder = next(p for p in (package / "configs", package.parent / "configs") if p.is_dir())
    path = (folder / "paper" if name == "paper" else folder) / f"{dataset}.yaml"
    if not path.is_file():
        raise ConfigError(f"no {name} preset for {dataset!r}; give --config FILE")
    return path


def read_values(path: Path, scenario: str | None = None) -> dict[str, Any]:
    """The mapping in a YAML file with the scenario's own keys laid over the common ones."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        line = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML ({line})") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: should be a mapping of sections, got {type(values).__name__}")
    scenarios = values.pop("scenarios", {})
    if not isinstance(scenarios, dict):
        raise ConfigError(f"{path}: scenarios should be a mapping of names to sections")
    for name, special in scenarios.items():  # a mistake in any of them shows at once
        if not isinstance(special, dict | None):
            raise ConfigError(f"{path}: scenarios.{name} should be a mapping of sections")
        build(merge(values, special or {}), f"{path}: scenarios.{name}")
    return merge(values, scenarios.get((scenario or "").split(":")[0]) or {})


def override(values: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Lay ``section.key=value`` assignments (values in YAML) over ``values``."""
    import yaml

    merged = dict(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment!r}: write it as section.key=value")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            raise ConfigError(f"--set {assignment!r}: {text!r} is not a YAML value") from None
        if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
            with suppress(ValueError):
                value = float(value)
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        merged = merge(merged, value)
    return merged


def assemble(
    values: dict[str, Any], source: str, assignments: Iterable[str] = (), seed: int | None = None
) -> Config:
    """A file's values with assignments and the seed over them; a mistake names where it stands."""
    build(values, source)
    values = override(values, assignments)
    if seed is not None:
        values["seed"] = seed
    return build(values, "--set")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, section by section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
