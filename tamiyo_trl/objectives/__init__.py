"""Objectives: the PPO learner, its settings, and the diagnostics that prove it right."""

from tamiyo_trl.objectives.causes import Cause
from tamiyo_trl.objectives.config import PPOConfig
from tamiyo_trl.objectives.diagnostics import RatioReport, check_ratio
from tamiyo_trl.objectives.ppo import PPOLearner

__all__ = ["Cause", "PPOConfig", "PPOLearner", "RatioReport", "check_ratio"]
