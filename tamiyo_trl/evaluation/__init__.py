"""Held-out episodes, paired statistics, reports and plots."""

from tamiyo_trl.evaluation.comparison import Row, compare
from tamiyo_trl.evaluation.rollout import Episode, evaluate, rollout_episodes
from tamiyo_trl.evaluation.statistics import Estimate, estimate, paired
from tamiyo_trl.training.summaries import growth_summary

__all__ = [
    "Episode",
    "Estimate",
    "Row",
    "compare",
    "estimate",
    "evaluate",
    "growth_summary",
    "paired",
    "rollout_episodes",
]
