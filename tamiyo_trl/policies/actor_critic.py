"""make_actor_critic: policy, value and everything the learner and the collector must know about them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictModuleBase,
    TensorDictSequential,
)
from torch import nn
from torchrl.envs import CatFrames, Compose, EnvBase, InitTracker, RewardSum

from .. import keys
from ..errors import ConfigError, SpecError
from ..seeding import derive_seed
from .heads import CompositeMaskedHeads
from .initialisation import orthogonal
from .interface import AUTO, Interface, read_interface
from .memories import Memory, MemoryModule, resolve
from .normaliser import Normaliser
from .trunks import Blueprint, SharedTrunk, Trunk, Trunks

FRAMES = "frames"  # float32 [E, window * F]: the latest observations side by side, oldest first


@dataclass(frozen=True)
class ActorCriticOptions:
    """The rarer choices of an actor-critic.

    Attributes:
        head_names: a name per action head, for entropies and reports; `head_0`, ... where empty.
        relevant: rows of a table [n_ops][D], true where a head counts once head 0 chose op; independent masks only.
        trunks: one trunk for policy and value, or one for each.
    """

    head_names: tuple[str, ...] = ()
    relevant: tuple[tuple[bool, ...], ...] = ()
    trunks: Trunks = SharedTrunk()  # noqa: RUF009 (frozen and stateless)


class ActorCritic(nn.Module):
    """A policy and its value function, with what others must know to collect for it and to train it.

    Attributes:
        policy: observation, mask, state -> action, log-probability, value and next state.
        observation_key: the entry the policy reads (`frames` where it sees a window of frames).
        mask_key: the action mask, or None.
        nvec: number of values of each action head.
        head_names: name of each action head.
    """

    def __init__(self, interface: Interface, window: int, trunks: tuple[Trunk, Trunk], normaliser: Normaliser):
        super().__init__()
        self.observation_key = interface.observation_key if window == 1 else FRAMES
        self.mask_key = interface.mask_key
        self.nvec, self.head_names = interface.heads.nvec, interface.heads.head_names
        self._stacked = (interface.observation_key, window)
        actor, critic = trunks
        value_head = _head(critic, 1, gain=1.0, out_key=keys.STATE_VALUE)
        logits = _head(actor, sum(self.nvec), gain=0.01, out_key=keys.LOGITS)
        critic_modules = critic.modules if critic is not actor else ()
        self.policy = ProbabilisticTensorDictSequential(
            *actor.modules, *critic_modules, value_head, logits, _sampler(interface)
        )
        # A tuple is invisible to nn.Module: these are views of modules that `policy` already owns.
        self._views = (value_head, TensorDictSequential(*critic.modules, value_head), normaliser, actor, critic)

    @property
    def value_head(self) -> TensorDictModule:
        """Core -> state value; reads what a policy pass left in the tensordict."""
        return self._views[0]

    @property
    def critic(self) -> TensorDictSequential:
        """Observation, state and is_init -> state value, by itself."""
        return self._views[1]

    @property
    def normaliser(self) -> Normaliser:
        """Running statistics of `observation_key`; frozen but for `normaliser.update`, which only the learner calls."""
        return self._views[2]

    @property
    def memory(self) -> MemoryModule:
        """The actor's memory; with separate trunks the critic has its own."""
        return self._views[3].memory

    @property
    def memories(self) -> tuple[MemoryModule, ...]:
        """Every memory: one where policy and value share it."""
        return tuple(dict.fromkeys(trunk.memory for trunk in self._views[3:]))

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Every entry carried from ("next", key) to key."""
        return tuple(key for memory in self.memories for key in memory.state_keys)

    @property
    def collected_keys(self) -> tuple[NestedKey, ...]:
        """What a collector must store of the policy's output, and no more."""
        return (keys.ACTION, keys.LOG_PROB, keys.STATE_VALUE, *(("next", key) for key in self.state_keys))

    @property
    def training_keys(self) -> tuple[str, ...]:
        """What an update reads of a step beside reward and done: observation, mask, action, states, ..."""
        mask = () if self.mask_key is None else (self.mask_key,)
        return (
            self.observation_key, *mask, keys.ACTION, keys.LOG_PROB, keys.STATE_VALUE, keys.IS_INIT, *self.state_keys
        )  # fmt: skip

    @property
    def bootstrap_keys(self) -> tuple[str, ...]:
        """What the critic reads under "next" to value the state after a truncated or last step."""
        return (self.observation_key, *self.state_keys)

    def transforms(self) -> Compose:
        """Return fresh environment transforms: InitTracker, what the memories need, RewardSum."""
        source, window = self._stacked
        stack = [] if window == 1 else [CatFrames(window, dim=-1, in_keys=[source], out_keys=[self.observation_key])]
        carried = [transform for memory in self.memories for transform in memory.transforms()]
        return Compose(InitTracker(), *stack, *carried, RewardSum())

    def check_batch(self, batch: TensorDictBase) -> None:
        """Check that a collected batch holds all that the update reads.

        Raises:
            SpecError: A missing entry, by name. A missing state means the policy ran without memory.
        """
        for key in self.training_keys:
            if key not in batch.keys():
                hint = "the policy ran without memory; " if key in self.state_keys else ""
                raise SpecError(f"the batch lacks {key!r}: {hint}wrap the environment in actor_critic.transforms()")

    def collection_policy(self) -> TensorDictModuleBase:
        """Return the policy as a collector should run it: it writes `collected_keys` and nothing else."""
        return CollectionPolicy(self)


class CollectionPolicy(TensorDictModuleBase):
    """Runs a policy and keeps only the entries that an update will read."""

    def __init__(self, actor_critic: ActorCritic) -> None:
        super().__init__()
        self.policy = actor_critic.policy
        self.in_keys = list(self.policy.in_keys)
        self.out_keys = list(actor_critic.collected_keys)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write action, log-probability, value and next states."""
        out = self.policy(tensordict.select(*self.in_keys, strict=False))
        for key in self.out_keys:
            tensordict.set(key, out.get(key))
        return tensordict


def make_actor_critic(
    env: EnvBase,
    memory: str | Memory = "lstm",
    *,
    hidden_size: int = 128,
    encoder_size: int = 256,
    seed: int = 0,
    observation_key: str = keys.OBSERVATION,
    mask_key: str | None = AUTO,
    options: ActorCriticOptions | None = None,
) -> ActorCritic:
    """Return an actor-critic for any environment with a flat float observation and a discrete action.

    Observation -> normalise -> Linear(F, encoder_size) -> ReLU -> memory(hidden_size) -> value head and action head of
    one hidden layer each. Initial weights depend on `seed` alone and leave the global generator untouched.

    Args:
        env: only its specs are read; batched or not, masked or not.
        memory: "lstm", "gru", "mlp", "frames" or an object of the `Memory` protocol.
        mask_key: the boolean mask; "auto" takes `action_mask` where the environment shows one; None ignores masks.

    Raises:
        ConfigError: An unknown memory or a size below 1.
        SpecError: An environment that cannot be served, by name.
    """
    options = options or ActorCriticOptions()
    for name, size in (("hidden_size", hidden_size), ("encoder_size", encoder_size)):
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
    recipe = resolve(memory)
    interface = read_interface(env, observation_key, mask_key, options.head_names, options.relevant)
    features = interface.features * recipe.window
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "actor_critic"))
        normaliser = Normaliser(features)
        input_key = interface.observation_key if recipe.window == 1 else FRAMES
        plan = Blueprint(input_key, features, normaliser, recipe, encoder_size, hidden_size)
        actor_critic = ActorCritic(interface, recipe.window, options.trunks.build(plan), normaliser)
    return actor_critic if env.device is None else actor_critic.to(env.device)


def _head(trunk: Trunk, out_features: int, gain: float, out_key: str) -> TensorDictModule:
    size = trunk.memory.out_features
    last = orthogonal(nn.Linear(size // 2, out_features), gain)
    net = nn.Sequential(orthogonal(nn.Linear(size, size // 2)), nn.ReLU(), last)
    return TensorDictModule(net, in_keys=[trunk.core_key], out_keys=[out_key])


def _sampler(interface: Interface) -> ProbabilisticTensorDictModule:
    in_keys = {"logits": keys.LOGITS}
    if interface.mask_key is not None:
        in_keys["mask"] = interface.mask_key
    return ProbabilisticTensorDictModule(
        in_keys=in_keys,
        out_keys=[keys.ACTION],
        distribution_class=CompositeMaskedHeads,
        distribution_kwargs={"action": interface.heads, "relevant": interface.relevant},
        return_log_prob=True,
        default_interaction_type=InteractionType.RANDOM,
    )
