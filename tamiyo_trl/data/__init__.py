"""Images the hosts learn from: real, seeded, split by source."""

from ..errors import ConfigError
from .digits import DigitsTask
from .images import Corruption, DataOrder, EpisodeImages, ImageTask, SplitSizes

TASKS = {"digits": DigitsTask}


def make_task(name: str, image_size: int) -> ImageTask:
    """Return the named image task.

    Raises:
        ConfigError: the name is unknown, or the task has no such image size.
    """
    if name not in TASKS:
        raise ConfigError(f"task must be one of {sorted(TASKS)}, got {name!r}")
    return TASKS[name](image_size)


__all__ = [
    "TASKS",
    "Corruption",
    "DataOrder",
    "DigitsTask",
    "EpisodeImages",
    "ImageTask",
    "SplitSizes",
    "make_task",
]
