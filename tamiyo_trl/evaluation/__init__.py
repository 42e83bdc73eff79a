"""Held-out episodes, paired statistics, reports and plots."""

from .metrics import Row, compare, growth_summary
from .rollout import Episode, evaluate, rollout_episodes
from .statistics import Estimate, estimate, paired

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
