"""Policies: masked heads, memories, and the actor-critic built from an environment's specs."""

from .actions import Heads, OneHotHeads, ScalarHead
from .actor_critic import ActorCritic, ActorCriticOptions, make_actor_critic
from .baselines import FixedSchedule, Heuristic, NeverGrow, Planting, RandomLegal
from .cores import MemoryCore
from .heads import CompositeMaskedHeads, MaskedHeads
from .memories import GRU, LSTM, Feedforward, Frames, Memory
from .trunks import SeparateTrunks, SharedTrunk

__all__ = [
    "GRU",
    "LSTM",
    "ActorCritic",
    "ActorCriticOptions",
    "CompositeMaskedHeads",
    "Feedforward",
    "FixedSchedule",
    "Frames",
    "Heads",
    "Heuristic",
    "MaskedHeads",
    "Memory",
    "MemoryCore",
    "NeverGrow",
    "OneHotHeads",
    "Planting",
    "RandomLegal",
    "ScalarHead",
    "SeparateTrunks",
    "SharedTrunk",
    "make_actor_critic",
]
