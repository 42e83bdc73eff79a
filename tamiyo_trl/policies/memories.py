"""The memories a policy can have, each an object that declares what it carries from step to step.

A memory is chosen by name ("lstm", "gru", "mlp", "frames"), by one of the objects below with other settings, or by any
object of the `Memory` protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import nn
from torchrl.envs import Transform

from .. import keys
from ..errors import ConfigError
from .initialisation import forget_nothing, orthogonal
from .recurrent import LearnedStart, RecurrentMemory, ZeroStart


@runtime_checkable
class MemoryModule(Protocol):
    """A built memory: a TensorDictModule (from `in_key` to `out_key`) that also says what it carries."""

    state_keys: tuple[str, ...]  # entries carried from ("next", key) to key; empty without recurrence
    out_features: int  # size of what it writes

    def transforms(self) -> list[Transform]:
        """Return fresh environment transforms that must be there for the state to be carried."""

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the output and, outside recurrent mode, the next states."""


@runtime_checkable
class Memory(Protocol):
    """A recipe for a memory: what `make_actor_critic(memory=...)` takes.

    `window` is how many of the latest observations the encoder sees side by side (1: only the present one).
    """

    window: int

    def build(self, in_features: int, hidden_size: int, in_key: str, out_key: str, prefix: str) -> MemoryModule:
        """Return a new memory module; the names of its state keys begin with `prefix` (often empty)."""


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory.

    Attributes:
        num_layers: stacked layers.
        layer_norm: whether the output passes a LayerNorm.
        learned_start: whether episodes start from a learned state rather than zeros.
    """

    num_layers: int = 1
    layer_norm: bool = False
    learned_start: bool = False
    window: int = 1

    def build(self, in_features: int, hidden_size: int, in_key: str, out_key: str, prefix: str) -> RecurrentMemory:
        """Return a new LSTM with orthogonal weights and forget bias 1."""
        rnn = forget_nothing(orthogonal(nn.LSTM(in_features, hidden_size, self.num_layers, batch_first=True)))
        state_keys = (prefix + keys.HIDDEN_H, prefix + keys.HIDDEN_C)
        return _recurrent(self, rnn, in_key, out_key, state_keys)


@dataclass(frozen=True)
class GRU:
    """Gated recurrent unit; attributes as in LSTM."""

    num_layers: int = 1
    layer_norm: bool = False
    learned_start: bool = False
    window: int = 1

    def build(self, in_features: int, hidden_size: int, in_key: str, out_key: str, prefix: str) -> RecurrentMemory:
        """Return a new GRU with orthogonal weights."""
        rnn = orthogonal(nn.GRU(in_features, hidden_size, self.num_layers, batch_first=True))
        return _recurrent(self, rnn, in_key, out_key, (prefix + keys.HIDDEN,))


def _recurrent(
    recipe: LSTM | GRU, rnn: nn.LSTM | nn.GRU, in_key: str, out_key: str, state_keys: tuple[str, ...]
) -> RecurrentMemory:
    if recipe.num_layers < 1:
        raise ConfigError(f"num_layers must be at least 1, got {recipe.num_layers}")
    start = LearnedStart(len(state_keys), rnn.num_layers, rnn.hidden_size) if recipe.learned_start else ZeroStart()
    norm = nn.LayerNorm(rnn.hidden_size) if recipe.layer_norm else nn.Identity()
    return RecurrentMemory(rnn, start, norm, in_key, out_key, state_keys)


class FeedforwardMemory(TensorDictModuleBase):
    """A trunk that remembers nothing: Linear and ReLU from `in_key` to `out_key`."""

    state_keys: tuple[str, ...] = ()

    def __init__(self, in_features: int, hidden_size: int, in_key: str, out_key: str) -> None:
        super().__init__()
        self.net = orthogonal(nn.Sequential(nn.Linear(in_features, hidden_size), nn.ReLU()))
        self.out_features = hidden_size
        self.in_keys, self.out_keys = [in_key], [out_key]

    def transforms(self) -> list[Transform]:
        """Return no transforms: nothing is carried."""
        return []

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the trunk's output."""
        return tensordict.set(self.out_keys[0], self.net(tensordict.get(self.in_keys[0])))


@dataclass(frozen=True)
class Feedforward:
    """No memory: the spec's feedforward network, blind to all but the present observation."""

    window: int = 1

    def build(self, in_features: int, hidden_size: int, in_key: str, out_key: str, prefix: str) -> FeedforwardMemory:
        """Return a new feedforward trunk."""
        return FeedforwardMemory(in_features, hidden_size, in_key, out_key)


@dataclass(frozen=True)
class Frames(Feedforward):
    """A fixed window: a feedforward network that sees the latest `window` observations (TorchRL's CatFrames)."""

    window: int = 4

    def __post_init__(self) -> None:
        """Raise ConfigError for a window that shows no past."""
        if self.window < 2:
            raise ConfigError(f"a window of frames must hold at least 2, got {self.window}")


NAMED: dict[str, Memory] = {"lstm": LSTM(), "gru": GRU(), "mlp": Feedforward(), "frames": Frames()}


def resolve(memory: str | Memory) -> Memory:
    """Return the memory called `memory`, or the given object itself.

    Raises:
        ConfigError: An unknown name, or an object that is no Memory.
    """
    if isinstance(memory, str):
        if memory not in NAMED:
            raise ConfigError(f"unknown memory {memory!r}: allowed are {', '.join(map(repr, NAMED))} or a Memory object")
        return NAMED[memory]
    if isinstance(memory, type) or not isinstance(memory, Memory):
        raise ConfigError(f"memory {memory!r} is not a Memory: it needs `window` and `build(...)`")
    return memory
