"""Policies: masked heads, memories, and the actor-critic built from an environment's specs."""

from .actor_critic import ActorCritic, ActorCriticOptions, make_actor_critic
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
    "Frames",
    "MaskedHeads",
    "Memory",
    "SeparateTrunks",
    "SharedTrunk",
    "make_actor_critic",
]
