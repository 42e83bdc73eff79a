"""Hosts: the networks that Tamiyo watches, and fleets that train many of them at once."""

from tamiyo_trl.hosts.cnn import HostBirth, HostConfig
from tamiyo_trl.hosts.cohort import EpochStats
from tamiyo_trl.hosts.counterfactual import Evaluation
from tamiyo_trl.hosts.fleet import Fleet
from tamiyo_trl.lockstep.optimiser import OptimConfig

__all__ = ["EpochStats", "Evaluation", "Fleet", "HostBirth", "HostConfig", "OptimConfig"]
