"""Every error this library raises on purpose: one line that says what was wrong, the value, and what is allowed."""

from __future__ import annotations


class TamiyoError(Exception):
    """Base of all errors of this library."""


class ConfigError(TamiyoError):
    """A setting or a combination of settings that cannot work; raised before any work starts."""


class SpecError(TamiyoError):
    """An environment or tensordict whose specs, keys or shapes cannot be served."""


class IllegalActionError(TamiyoError):
    """An action that the mask forbids reached the environment."""


class DataError(TamiyoError):
    """A data set that is missing, damaged or of the wrong form."""


class CheckpointError(TamiyoError):
    """A checkpoint that is missing, truncated, damaged or foreign."""


class RatioError(TamiyoError):
    """The probability ratio was not 1 before the optimiser moved: collection and update disagree."""


class NonFiniteError(TamiyoError):
    """Losses or gradients were non-finite several times in a row."""


class RunFolderError(TamiyoError):
    """A run folder that already holds another run, or none where one is needed."""


class WorkerError(TamiyoError):
    """A process that collects episodes failed, died or did not answer in time."""
