"""Training: the collector, the loop, checkpoints and the tables a run writes."""

from tamiyo_trl.collectors.collector import SyncDataCollector, make_collector, with_transforms
from tamiyo_trl.training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from tamiyo_trl.training.loop import TrainConfig, train
from tamiyo_trl.training.run_folder import has_run
from tamiyo_trl.training.table import TableLogger

__all__ = [
    "SyncDataCollector",
    "TableLogger",
    "TrainConfig",
    "has_run",
    "list_checkpoints",
    "load_checkpoint",
    "make_collector",
    "save_checkpoint",
    "train",
    "with_transforms",
]
