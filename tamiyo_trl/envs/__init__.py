"""Environments: GrowthEnv, real hosts that a controller may grow; RecallEnv, the memory-necessary positive control."""

from tamiyo_trl.envs.growth.config import GrowthConfig, HostTrainingConfig
from tamiyo_trl.envs.growth.env import GrowthEnv
from tamiyo_trl.envs.growth.parallel import growth_env_makers, make_growth_env
from tamiyo_trl.envs.recall import RecallEnv
from tamiyo_trl.seeds import LifecycleConfig

__all__ = [
    "GrowthConfig",
    "GrowthEnv",
    "HostTrainingConfig",
    "LifecycleConfig",
    "RecallEnv",
    "growth_env_makers",
    "make_growth_env",
]
