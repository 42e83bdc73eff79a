"""make_actor_critic: policy, value and everything the learner and the collector must know about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModuleBase,
    TensorDictSequential,
)
from torch import nn
from torchrl.envs import Compose, EnvBase, InitTracker

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.policies.collection import CollectionPolicy
from tamiyo_trl.policies.heads.masked_heads import CompositeMaskedHeads
from tamiyo_trl.policies.interface import Interface, read_interface
from tamiyo_trl.policies.memories.core import MemoryModule
from tamiyo_trl.policies.memories.kinds import Memory, resolve
from tamiyo_trl.policies.networks import Networks
from tamiyo_trl.policies.normaliser import Normaliser
from tamiyo_trl.policies.observations import AUTO, check_autoreset, size_of
from tamiyo_trl.policies.trunks import Critic, SharedTrunk, TrunkConfig
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.transforms import FloatRewardSum, FrameStack, SideBySide, Snapshot


@dataclass(frozen=True)
class ActorCriticOptions:
    """The rarer choices of an actor-critic.

    Attributes:
        head_names: a name per action head, for entropies and reports; `head_0`, ... where empty.
        relevant: table [n_ops][D], true where a head counts once head 0 chose op; for independent masks only.
        critic: what the value function reads: the policy's own trunk, one like it (`SeparateTrunks`), or one that also
            knows what the policy must find out (`PrivilegedCritic`).
        initial_logits: bias of every action logit before training, heads side by side (sum(nvec) numbers), so that a
            run starts from a sensible habit rather than from chance; zeros where empty.
    """

    head_names: tuple[str, ...] = ()
    relevant: tuple[tuple[bool, ...], ...] = ()
    critic: Critic = SharedTrunk()  # noqa: RUF009 (frozen and stateless)
    initial_logits: tuple[float, ...] = ()


class ActorCritic(nn.Module):
    """A policy and its value function, with what others must know to collect for it and to train it.

    Attributes:
        networks: all networks; it owns the weights that the views below share.
        observation_key: the entry the policy reads (`frames` where it sees a window of frames).
        mask_key: the action mask, or None.
        nvec: number of values of each action head.
        head_names: name of each action head.
    """

    def __init__(self, networks: Networks, window: int, reread: Callable[[EnvBase], Interface]) -> None:
        super().__init__()
        self._reread = reread
        self.networks = networks
        interface = networks.interface
        self.observation_key, self.mask_key = networks.observation_key, interface.mask_key
        self.nvec, self.head_names = interface.heads.nvec, interface.heads.head_names
        self._window = window
        actor, critic = networks.trunks[0].modules_in_order, networks.trunks[-1].modules_in_order
        is_shared = len(networks.trunks) == 1
        valued = (networks.value,) if is_shared else ()
        policy = ProbabilisticTensorDictSequential(*actor, *valued, networks.logits, _sampler(interface))
        value = TensorDictSequential(*critic, networks.value)
        walk = value if is_shared else TensorDictSequential(*actor, *critic, networks.value)
        # nn.Module does not look into a tuple: the weights are counted and saved once, under `networks`.
        self._views = (policy, value, CollectionPolicy(networks), walk)

    @property
    def policy(self) -> ProbabilisticTensorDictSequential:
        """Observation, mask, state -> action, log-probability and next state; the value too where the trunk is shared.

        It reads nothing that only the critic reads: it acts where the environment does not show that.
        """
        return self._views[0]

    @property
    def critic(self) -> TensorDictSequential:
        """Observation, privileged entries, state and is_init -> state value, by itself."""
        return self._views[1]

    @property
    def walk(self) -> TensorDictSequential:
        """What the policy and the critic read -> state value and every next state: a step without its action."""
        return self._views[3]

    def collection_policy(self) -> CollectionPolicy:
        """The policy as a collector should run it: the same numbers, and only what must be stored."""
        return self._views[2]

    @property
    def value_head(self) -> TensorDictModuleBase:
        """What a policy pass left in the tensordict -> state value: a head on a shared trunk, else the critic."""
        return self.networks.value if len(self.networks.trunks) == 1 else self.critic

    @property
    def normaliser(self) -> Normaliser:
        """Running statistics of `observation_key`."""
        return self.networks.normalisers[self.observation_key]

    @property
    def normalisers(self) -> dict[str, Normaliser]:
        """Running statistics of every entry that is read, by key; only the learner's calls of `update` change them."""
        return self.networks.normalisers

    @property
    def memory(self) -> MemoryModule:
        """The actor's memory; with separate trunks the critic has its own."""
        return self.networks.trunks[0].memory

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Every entry carried from ("next", key) to key, the critic's included."""
        return self.networks.state_keys

    @property
    def collected_keys(self) -> tuple[NestedKey, ...]:
        """What a collector must store of the policy's output, and no more."""
        return tuple(self._views[2].out_keys)

    @property
    def training_keys(self) -> tuple[str, ...]:
        """What an update reads of a step beside reward and done: observations, mask, action, states, ..."""
        mask = () if self.mask_key is None else (self.mask_key,)
        written = (keys.ACTION, keys.LOG_PROB, keys.STATE_VALUE)
        return (*self.normalisers, *mask, *written, keys.IS_INIT, *self.state_keys)

    @property
    def bootstrap_keys(self) -> tuple[str, ...]:
        """What the critic reads under "next" to value the state after a truncated or a last step.

        The learner recomputes states that are not stored there, so a collector need not store them.
        """
        return (*self.normalisers, *self.networks.trunks[-1].memory.state_keys)

    def transforms(self) -> Compose:
        """Return fresh environment transforms: Snapshot, InitTracker, what the memories need, FloatRewardSum."""
        interface = self.networks.interface
        source = interface.observation_key
        joined = [SideBySide(interface.sources, source)] if len(interface.sources) > 1 else []
        frames = (
            FrameStack(self._window, dim=-1, in_keys=[source], out_keys=[keys.FRAMES]) if self._window > 1 else None
        )
        carried = [transform for trunk in self.networks.trunks for transform in trunk.memory.transforms()]
        return Compose(Snapshot(), *joined, InitTracker(), *([frames] if frames else []), *carried, FloatRewardSum())

    def check_env(self, env: EnvBase) -> None:
        """Check that `env`, with or without this policy's transforms, is of the form the policy was made for.

        Raises:
            SpecError: it shows or takes something else; the message names every difference.
        """
        self.networks.check_precision()
        check_autoreset(env)
        differences = self.networks.interface.differences(self._reread(env))
        if differences:
            raise SpecError(f"the environment is not of the form the policy was made for: {'; '.join(differences)}")

    def check_batch(self, batch: TensorDictBase) -> None:
        """Check that a collected batch holds all that the update reads.

        Raises:
            SpecError: a missing entry, by name.
        """
        self.networks.check_precision()
        present = batch.keys()
        for key in self.training_keys:
            if key not in present:
                if key in self.networks.privileged_keys:
                    raise SpecError(f"the batch lacks {key!r}: the critic learns only where the environment shows it")
                hint = "the policy would run without memory; " if key in self.state_keys else ""
                raise SpecError(f"the batch lacks {key!r}: {hint}wrap the environment in actor_critic.transforms()")


def make_actor_critic(
    env: EnvBase,
    memory: str | Memory = "lstm",
    *,
    hidden_size: int = 128,
    encoder_size: int = 256,
    seed: int = 0,
    observation_key: str | tuple[str, ...] = AUTO,
    mask_key: str | None = AUTO,
    options: ActorCriticOptions | None = None,
) -> ActorCritic:
    """Return an actor-critic for any environment with flat observations and a discrete action.

    Observation -> normalise -> Linear(F, encoder_size) -> ReLU -> memory(hidden_size) -> value head and action head of
    one hidden layer each. Initial weights depend on `seed` alone and leave the global generator untouched.

    Args:
        env: only its specs are read; batched or not, masked or not.
        memory: "lstm", "gru", "mlp", "frames" or an object of the `Memory` protocol.
        observation_key: the flat entry the policy reads, or several, which it then reads side by side in that order;
            "auto" takes `observation` and refuses to ignore others.
        mask_key: the boolean mask; "auto" takes `action_mask` where the environment shows one; None ignores masks.

    Raises:
        ConfigError: an unknown memory, a size below 1, initial logits that are not one per action value, or a critic
            privileged to read what the policy reads.
        SpecError: an environment that cannot be served, by name.
    """
    options = options or ActorCriticOptions()
    for name, size in (("hidden_size", hidden_size), ("encoder_size", encoder_size)):
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
    recipe = resolve(memory)
    read = partial(
        read_interface,
        observation_key=observation_key,
        mask_key=mask_key,
        head_names=options.head_names,
        relevant=options.relevant,
        critic_keys=options.critic.keys,
    )
    interface = read(env)
    if interface.observation_key in options.critic.keys:
        raise ConfigError(f"the critic reads {interface.observation_key!r} anyway: it is no privileged entry")
    features = interface.features * recipe.window
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "actor_critic"))
        normaliser = Normaliser(features)
        key = interface.observation_key if recipe.window == 1 else keys.FRAMES
        further = {key: Normaliser(size_of(env, key)) for key in options.critic.keys}
        plan = TrunkConfig(key, features, normaliser, recipe, encoder_size, hidden_size, further)
        networks = Networks(interface, plan, options.critic)
    networks.set_initial_logits(options.initial_logits)
    actor_critic = ActorCritic(networks, recipe.window, read)
    return actor_critic if env.device is None else actor_critic.to(env.device)


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
