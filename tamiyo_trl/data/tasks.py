"""...."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tamiyo_trl.data.digits import DigitsTask
from tamiyo_trl.data.images import ImageTask
from tamiyo_trl.data.source import DataSource
from tamiyo_trl.data.templates import TemplatesTask
from tamiyo_trl.errors import ConfigError


@dataclass(frozen=True)
class TaskKind:
    """One named task: the image sizes it has, and how it is made."""

    image_sizes: tuple[int, ...]
    make: Callable[[int, DataSource], ImageTask]


def _make_cifar10(image_size: int, source: DataSource) -> ImageTask:
    from tamiyo_trl.data.cifar10 import Cifar10Task

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
