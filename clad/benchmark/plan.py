"""Which cells a benchmark or an ablation has; a mistake in any shows before the first is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clad import config as configuration
from clad import recipes
from clad.benchmark.cells import CLAD, METHODS, Cell
from clad.data.benchmarks import load
from clad.data.labelled import Benchmark
from clad.data.own import read_own
from clad.data.scenarios import ONE_CLASS, Scenario, known, scenario, scenario_names
from clad.data.splits import hold_out
from clad.errors import ConfigError
from clad.report.ablation import BASE, VARIANT


@dataclass(frozen=True)
class Source:
    """Where a data set's images are: a name and the prepared data's folder, or a YAML file.

    ``held_out``: the share of its training images that is tested with in the place of its test
    images. Raises ConfigError for a file with that: all of its training images are normal.
    """

    dataset: str
    root: Path | None = None
    held_out: float | None = None

    def __post_init__(self) -> None:
        if self.own and self.held_out is not None:
            raise ConfigError(
                f"{self.dataset}: holds no anomalies to train on, so there are none to hold out; "
                "leave --held-out away, or name images to choose by under test"
            )

    @property
    def own(self) -> bool:
        """Whether it is a file of the user's."""
        return self.dataset.endswith((".yaml", ".yml"))

    def open(self) -> Benchmark:
        """The labelled images, opened once a process."""
        return _opened(self)

    def scenarios(self, names: Sequence[str]) -> list[Scenario]:
        """``all``, ``one-class`` or names. Raises DataError for an unknown one."""
        if self.own:
            _, only = read_own(Path(self.dataset))
            for name in set(names) - {"all"}:
                known(name, [only.name], f"scenario of {self.dataset}")
            return [only]
        classes = self.open().classes
        if list(names) == ["all"]:
            names = scenario_names(self.dataset)
        elif list(names) == ["one-class"]:
            names = [f"{ONE_CLASS}{label}" for label in classes]
        found = [scenario(self.dataset, name, classes) for name in names]
        if self.held_out is None:
            return found
        # another data set in every table: rows of both are never averaged
        name = f"{self.dataset}, {self.held_out:g} of training held out"
        return [replace(one, dataset=name) for one in found]

    def offers(self, method: str) -> bool:
        """Whether there is a recipe: the authors released none for digits or for a user's data."""
        try:
            self.settings(method, "")
        except ConfigError:
            return False
        return True

    def settings(self, method: str, name: str) -> tuple[str, dict[str, Any]]:
        """A method's recipe for a scenario, and where it stands."""
        if self.own and method != "clad:paper":
            return "the defaults", {}
        path = recipes.preset(CLAD.get(method, "default"), self.dataset)
        return str(path), recipes.read_values(path, name)


@cache
def _opened(source: Source) -> Benchmark:
    if source.own:
        return read_own(Path(source.dataset))[0]
    benchmark = load(source.dataset, source.root)
    return benchmark if source.held_out is None else hold_out(benchmark, source.held_out)


def cells(
    source: Source,
    scenarios: Sequence[str],
    methods: Sequence[str],
    seeds: int,
    assignments: Iterable[str] = (),
) -> list[Cell]:
    """Scenarios x methods x seeds. Raises DataError and ConfigError."""
    chosen = source.scenarios(scenarios)
    choices = [method for method in METHODS if source.offers(method)]
    wanted = choices if list(methods) == ["all"] else methods
    for method in wanted:
        known(method, choices, "method")
    assignments = list(assignments)
    return [
        Cell(one, method, recipes.assemble(values, where, assignments, seed))
        for one in chosen
        for method in wanted
        for where, values in [source.settings(method, one.name)]
        for seed in range(seeds)
    ]


class Ablation(BaseModel):
    """A file of ``configs/ablation``: one or two keys swept over values, everything else fixed.

    Or ``variants``, each with changes of its own, to be compared with the one named ``BASE``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    scenarios: list[str] = ["all"]
    method: str = Field("clad", description="clad or clad:paper")
    seeds: int = Field(1, ge=1)
    fixed: dict[str, Any] = Field({}, description="keys of the configuration set for every cell")
    sweep: Annotated[dict[str, list[Any]], Field(max_length=2)] = {}
    variants: dict[str, dict[str, Any]] = Field({}, description="name: keys of the configuration")

    @model_validator(mode="after")
    def _one_of_both(self) -> Ablation:
        if bool(self.sweep) == bool(self.variants):
            raise ValueError("give either sweep or variants")
        if self.variants and BASE not in self.variants:
            raise ValueError(
                f"one of the variants must be named {BASE}, to compare the others with"
            )
        return self

    def points(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Each point as rows name it, and the keys that it sets."""
        if self.variants:
            return [({VARIANT: name}, keys) for name, keys in self.variants.items()]
        combinations = product(*self.sweep.values())
        return [(p, p) for p in (dict(zip(self.sweep, c, strict=True)) for c in combinations)]


def read_ablation(path: Path) -> Ablation:
    """Raises ConfigError naming the file and the key that is wrong."""
    import yaml

    try:
        return Ablation.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()
        )
        keys = ", ".join(Ablation.model_fields)
        raise ConfigError(f"{path}: {found} (keys: {keys})") from None


def ablation_cells(
    ablation: Ablation, source: Source, seeds: int | None = None
) -> list[tuple[dict[str, Any], Cell]]:
    """Every combination of the swept values, with those values, or every variant, with its name."""
    known(ablation.method, list(CLAD), "method")
    found = []
    for one in source.scenarios(ablation.scenarios):
        where, values = source.settings(ablation.method, one.name)
        configuration.build(values, where)
        for point, keys in ablation.points():
            changes = _nested({**ablation.fixed, **keys})
            changing = f"variant {point[VARIANT]}" if ablation.variants else "sweep"
            for seed in range(seeds or ablation.seeds):
                changed = {**recipes.merge(values, changes), "seed": seed}
                settings = configuration.build(changed, f"fixed and {changing}")
                found.append((point, Cell(one, ablation.method, settings)))
    return found


def _nested(assignments: Mapping[str, Any]) -> dict[str, Any]:
    """``{"dec.clusters": 3}`` -> ``{"dec": {"clusters": 3}}``."""
    nested: dict[str, Any] = {}
    for key, value in assignments.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        nested = recipes.merge(nested, value)
    return nested
