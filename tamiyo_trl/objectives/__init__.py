"""Objectives: the PPO learner and its settings, imitation of a teacher, and the diagnostics that prove it right."""

from tamiyo_trl.objectives.causes import Cause
from tamiyo_trl.objectives.config import PPOConfig
from tamiyo_trl.objectives.diagnostics import RatioReport, check_ratio
from tamiyo_trl.objectives.imitate import ImitationConfig, Imitator
from tamiyo_trl.objectives.ppo import PPOLearner

__all__ = ["Cause", "ImitationConfig", "Imitator", "PPOConfig", "PPOLearner", "RatioReport", "check_ratio"]
