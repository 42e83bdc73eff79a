"""The memories a policy can have: by name ("lstm", "gru", "mlp", "frames"), or as an object with settings of its own.

To bring a memory of your own, write a `MemoryCore` (one step, its state shapes) and an object with `window` and
`build` that makes it; everything else (keys, primers, resets, slices, collection) follows from the shapes it declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.policies.initialisation import forget_nothing, orthogonal
from tamiyo_trl.policies.memories.core import FeedforwardCore, MemoryCore
from tamiyo_trl.policies.memories.recurrent import GRUCore, LearnedStart, LSTMCore, ZeroStart


@runtime_checkable
class Memory(Protocol):
    """What `make_actor_critic(memory=...)` takes: a recipe for a memory."""

    @property
    def window(self) -> int:
        """How many of the latest observations the encoder sees side by side (1: only the present one)."""

    def build(self, in_features: int, hidden_size: int) -> MemoryCore:
        """Return a new core that reads `in_features`."""


@dataclass(frozen=True)
class Recurrent:
    """Settings LSTM and GRU share.

    Attributes:
        num_layers: stacked layers (N).
        layer_norm: whether the output passes a LayerNorm.
        learned_start: whether episodes start from a learned state rather than from zeros.
    """

    num_layers: int = 1
    layer_norm: bool = False
    learned_start: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError for a memory without layers."""
        if self.num_layers < 1:
            raise ConfigError(f"num_layers must be at least 1, got {self.num_layers}")

    @property
    def window(self) -> int:
        """Only the present observation: the past is in the state."""
        return 1

    def _start(self, num_states: int, hidden_size: int) -> nn.Module:
        return LearnedStart(num_states, self.num_layers, hidden_size) if self.learned_start else ZeroStart()

    def _norm(self, hidden_size: int) -> nn.Module:
        return nn.LayerNorm(hidden_size) if self.layer_norm else nn.Identity()


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory (see `Recurrent` for its settings)."""

    def build(self, in_features: int, hidden_size: int) -> LSTMCore:
        """Return a new LSTM with orthogonal weights and forget bias 1."""
        rnn = forget_nothing(orthogonal(nn.LSTM(in_features, hidden_size, self.num_layers, batch_first=True)))
        return LSTMCore(rnn, self._start(2, hidden_size), self._norm(hidden_size))


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent unit (see `Recurrent` for its settings)."""

    def build(self, in_features: int, hidden_size: int) -> GRUCore:
        """Return a new GRU with orthogonal weights."""
        rnn = orthogonal(nn.GRU(in_features, hidden_size, self.num_layers, batch_first=True))
        return GRUCore(rnn, self._start(1, hidden_size), self._norm(hidden_size))


@dataclass(frozen=True)
class Feedforward:
    """No memory: one more layer in its place, blind to all but the present observation."""

    @property
    def window(self) -> int:
        """Only the present observation."""
        return 1

    def build(self, in_features: int, hidden_size: int) -> FeedforwardCore:
        """Return a new Linear and ReLU."""
        return FeedforwardCore(orthogonal(nn.Sequential(nn.Linear(in_features, hidden_size), nn.ReLU())), hidden_size)


@dataclass(frozen=True)
class Frames(Feedforward):
    """A window of the latest observations side by side (TorchRL's CatFrames) before a feedforward trunk.

    Attributes:
        frames: observations in the window; at an episode's start the first one fills it.
    """

    frames: int = 4

    def __post_init__(self) -> None:
        """Raise ConfigError for a window that shows no past."""
        if self.frames < 2:
            raise ConfigError(f"a window must hold at least 2 frames, got {self.frames}")

    @property
    def window(self) -> int:
        """The number of frames."""
        return self.frames


NAMED: dict[str, Memory] = {"lstm": LSTM(), "gru": GRU(), "mlp": Feedforward(), "frames": Frames()}


def resolve(memory: str | Memory) -> Memory:
    """Return the memory called `memory`, or the given object itself.

    Raises:
        ConfigError: an unknown name, or an object that is no `Memory`.
    """
    if isinstance(memory, str):
        if memory not in NAMED:
            raise ConfigError(
                f"unknown memory {memory!r}: allowed are {', '.join(map(repr, NAMED))} or a Memory object"
            )
        return NAMED[memory]
    if isinstance(memory, type) or not isinstance(memory, Memory):
        raise ConfigError(f"memory {memory!r} is not a Memory: an object with `window` and `build(...)` is needed")
    return memory
