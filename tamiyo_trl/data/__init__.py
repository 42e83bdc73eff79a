"""Images the hosts learn from, by task: seeded, split so that nothing is seen in two splits."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConfigError
from .digits import DigitsTask
from .images import Corruption, DataOrder, EpisodeImages, ImageTask, SplitSizes
from .source import DataSource
from .templates import TemplatesTask


@dataclass(frozen=True)
class TaskKind:
    """One named task: the image sizes it has, and how it is made."""

    image_sizes: tuple[int, ...]
    make: Callable[[int, DataSource], ImageTask]


def _make_cifar10(image_size: int, source: DataSource) -> ImageTask:
    from .cifar10 import Cifar10Task  # torchvision is imported by those alone who want it

    return Cifar10Task(image_size, source)


TASKS = {
    "digits": TaskKind(DigitsTask.image_sizes, lambda size, source: DigitsTask(size)),
    "templates": TaskKind(TemplatesTask.image_sizes, lambda size, source: TemplatesTask(size)),
    "fresh-templates": TaskKind(TemplatesTask.image_sizes, lambda size, source: TemplatesTask(size, fresh=True)),
    "cifar10": TaskKind((16, 32), _make_cifar10),
}


def make_task(name: str, image_size: int, source: DataSource | None = None) -> ImageTask:
    """Return the named image task; `source` says where a task that is read from disk lies.

    Raises:
        ConfigError: the name is unknown, or the task has no such image size.
        DataError: its files are missing or damaged.
    """
    if name not in TASKS:
        raise ConfigError(f"task must be one of {sorted(TASKS)}, got {name!r}")
    return TASKS[name].make(image_size, source or DataSource())


__all__ = [
    "TASKS",
    "Corruption",
    "DataOrder",
    "DataSource",
    "DigitsTask",
    "EpisodeImages",
    "ImageTask",
    "SplitSizes",
    "TaskKind",
    "TemplatesTask",
    "make_task",
]
