"""CLAD: anomaly detection in images where nothing is labelled and normal is many things at once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clad.pipeline import CLAD

__all__ = ["CLAD", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import torch and the rest when CLAD is first asked for, not with the package."""
    if name == "CLAD":
        from clad.pipeline import CLAD

        return CLAD
    raise AttributeError(f"module 'clad' has no attribute {name!r}")
