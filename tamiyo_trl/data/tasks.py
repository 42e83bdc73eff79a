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


def register_task(name: str, image_sizes: tuple[int, ...], make: Callable[[int, DataSource], ImageTask]) -> None:
    """Let environments be asked for images as `task=name`; `make(image_size, source)` returns the task.

    Its data are read when the first environment is made. The family `mixed` is set for the library's own tasks: use
    `family="single"`, or register a family for this one. Worker processes import your script anew: register where it
    is imported, not under `if __name__ == "__main__"`.

    Raises:
        ConfigError: the name is another task's, or there is no image size.
    """
    if not name or not name.isprintable() or name != name.strip():
        raise ConfigError(f"a task must have a printable name without outer blanks, got {name!r}")
    if not image_sizes or min(image_sizes) < 1:
        raise ConfigError(f"a task needs at least one positive image size, got {image_sizes}")
    known = TASKS[name].make if name in TASKS else make
    if (known.__module__, known.__qualname__) != (make.__module__, make.__qualname__):
        raise ConfigError(f"the name of task {name!r} is taken; choose another")
    TASKS[name] = TaskKind(image_sizes, make)


def make_task(name: str, image_size: int, source: DataSource | None = None) -> ImageTask:
    """Return the named image task; `source` says where a task that is read from disk lies.

    Raises:
        ConfigError: the name is unknown, or the task has no such image size.
        DataError: its files are missing or damaged.
    """
    if name not in TASKS:
        raise ConfigError(f"task must be one of {sorted(TASKS)}, got {name!r}")
    return TASKS[name].make(image_size, source or DataSource())
