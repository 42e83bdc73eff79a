"""Environments: GrowthEnv, real hosts that a controller may grow; RecallEnv, the memory-necessary positive control."""

from ..seeds import LifecycleConfig
from .config import GrowthConfig, TrainingConfig
from .growth import GrowthEnv
from .parallel import growth_env_makers, make_growth_env
from .recall import RecallEnv

__all__ = [
    "GrowthConfig",
    "GrowthEnv",
    "LifecycleConfig",
    "RecallEnv",
    "TrainingConfig",
    "growth_env_makers",
    "make_growth_env",
]
