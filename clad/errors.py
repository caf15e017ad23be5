"""The package's own errors: one line that says what is wrong and what to do; exit status 2."""


class CladError(Exception):
    """Base of every error a user can cause and mend."""


class ConfigError(CladError, ValueError):
    """A key or value of the configuration is unknown, mistyped or out of range."""


class DataError(CladError, ValueError):
    """Images, arrays, archives or labels that cannot be used as they are."""


class ModelError(CladError, ValueError):
    """A model folder that is damaged, foreign or does not fit what is asked of it."""


class FitError(CladError, RuntimeError):
    """Training cannot give a useful detector: a loss is NaN, a cluster is lost, memory is out."""


class NotFittedError(CladError, ValueError, AttributeError):
    """Something that ``fit`` (or ``calibrate``) learns was asked for before it was learnt."""


class MissingExtraError(CladError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""
