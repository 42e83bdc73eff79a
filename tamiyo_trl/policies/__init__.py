"""Policies: masked heads, memories, and the actor-critic built from an environment's specs."""

from tamiyo_trl.policies.actions import ActionCode, Heads, OneHotHeads, ScalarHead, StackedOneHotHeads
from tamiyo_trl.policies.actor_critic import ActorCritic, ActorCriticOptions, make_actor_critic
from tamiyo_trl.policies.baselines import FixedSchedule, Heuristic, NeverGrow, Planting, RandomLegal
from tamiyo_trl.policies.critics import PrivilegedCritic
from tamiyo_trl.policies.heads.masked_heads import CompositeMaskedHeads, MaskedHeads
from tamiyo_trl.policies.memories.core import MemoryCore
from tamiyo_trl.policies.memories.kinds import GRU, LSTM, Feedforward, Frames, Memory
from tamiyo_trl.policies.trunks import SeparateTrunks, SharedTrunk

__all__ = [
    "GRU",
    "LSTM",
    "ActionCode",
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
    "PrivilegedCritic",
    "RandomLegal",
    "ScalarHead",
    "SeparateTrunks",
    "SharedTrunk",
    "StackedOneHotHeads",
    "make_actor_critic",
]
