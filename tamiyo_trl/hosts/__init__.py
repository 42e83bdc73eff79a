"""Hosts: the networks that Tamiyo watches, and fleets that train many of them at once."""

from .cnn import HostBirth, HostConfig
from .cohort import EpochStats
from .evaluation import Evaluation
from .fleet import Fleet
from .optimiser import OptimConfig

__all__ = ["EpochStats", "Evaluation", "Fleet", "HostBirth", "HostConfig", "OptimConfig"]
