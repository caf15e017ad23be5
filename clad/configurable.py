"""scikit-learn's parameters over a nested configuration: get, set and clone by ``section__key``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from sklearn.base import BaseEstimator

from clad.config import Config, build
from clad.recipes import load, merge

C = TypeVar("C", bound="Configurable")


class Configurable(BaseEstimator):
    """An estimator whose parameters are a configuration and whether to show progress."""

    def __init__(
        self,
        config: Config | Mapping[str, Any] | str | Path | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self.config = config
        self.progress = progress

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """``config`` and ``progress``; deep: also every key of the configuration, ``a__b``."""
        params: dict[str, Any] = {"config": self.config, "progress": self.progress}
        if deep:
            for key, value in dict(self._resolve()).items():
                if isinstance(value, BaseModel):
                    params.update({f"{key}__{name}": item for name, item in value})
                else:
                    params[key] = value
        return params

    def set_params(self: C, **params: Any) -> C:
        """Set ``config``, ``progress`` or any key of the configuration as ``section__key``."""
        for name in ("config", "progress"):
            if name in params:
                setattr(self, name, params.pop(name))
        values = self._resolve().model_dump()
        for name, value in params.items():
            section, _, key = name.partition("__")
            values = merge(values, {section: {key: value} if key else value})
        if params:
            self.config = build(values, "set_params")
        return self

    def _resolve(self) -> Config:
        if isinstance(self.config, Config):
            return self.config
        if isinstance(self.config, str | Path):
            return load(Path(self.config))
        return build(self.config or {})
