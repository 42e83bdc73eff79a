"""Images the hosts learn from, by task: seeded, split so that nothing is seen in two splits."""

from tamiyo_trl.data.digits import DigitsTask
from tamiyo_trl.data.images import Corruption, DataOrder, EpisodeImages, ImageTask, SplitSizes
from tamiyo_trl.data.source import DataSource
from tamiyo_trl.data.tasks import TASKS, TaskKind, make_task
from tamiyo_trl.data.templates import TemplatesTask

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
