"""Objectives: the PPO learner, its settings, and the diagnostics that prove it right."""

from tamiyo_trl.objectives.causes import Cause
from tamiyo_trl.objectives.config import PPOConfig
from tamiyo_trl.objectives.diagnostics import RatioReport, check_ratio
from tamiyo_trl.objectives.ppo import PPOLearner
from tamiyo_trl.objectives.schedules import LinearSchedule

__all__ = ["Cause", "LinearSchedule", "PPOConfig", "PPOLearner", "RatioReport", "check_ratio"]
