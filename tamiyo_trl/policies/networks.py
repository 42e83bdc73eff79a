"""All networks of an actor-critic, in one module that owns their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.policies.heads.factors import Factors, factorise
from tamiyo_trl.policies.initialisation import orthogonal
from tamiyo_trl.policies.interface import Interface
from tamiyo_trl.policies.trunks import Critic, Trunk, TrunkConfig


class Networks(nn.Module):
    """Trunks, value head and action head, with the environment's interface they serve.

    Attributes:
        interface: what the environment shows and takes.
        observation_key: the entry the policy reads.
        privileged_keys: entries that only the critic reads.
        normalisers: the running statistics of every entry that is read, by its key.
        trunks: the actor's first, the critic's last; one where they share it.
        value: core -> state value.
        logits: core -> logits of all heads side by side.
    """

    def __init__(self, interface: Interface, plan: TrunkConfig, critic: Critic) -> None:
        super().__init__()
        self.interface = interface
        self.observation_key = plan.observation_key
        self.privileged_keys = tuple(plan.privileged)
        self.normalisers = {plan.observation_key: plan.normaliser, **plan.privileged}
        self.trunks: tuple[Trunk, ...] = tuple(critic.build(plan))
        self.trunk_modules = nn.ModuleList(self.trunks)  # owns what the tuple only lists
        self.value = _head(self.trunks[-1], 1, gain=1.0, out_key=keys.STATE_VALUE)
        self.logits = _head(self.trunks[0], sum(interface.heads.nvec), gain=0.01, out_key=keys.LOGITS)

    def set_initial_logits(self, initial_logits: Sequence[float]) -> None:
        """Set the bias of the action logits, one number per action value; nothing given leaves zeros.

        Raises:
            ConfigError: another number of values.
        """
        bias: Tensor = self.logits.module[-1].bias
        if not initial_logits:
            return
        if len(initial_logits) != len(bias):
            raise ConfigError(f"initial_logits must hold {len(bias)} numbers, one per action value: {initial_logits}")
        with torch.no_grad():
            bias.copy_(torch.as_tensor(initial_logits))

    def check_precision(self) -> None:
        """Check that numbers will be float32 throughout.

        Raises:
            SpecError: weights of another type, or autocast.
        """
        weights = next(self.parameters())
        if weights.dtype is not torch.float32:
            raise SpecError(f"the policy's weights are {weights.dtype}: only float32 is served")
        if torch.is_autocast_enabled(weights.device.type):
            raise SpecError(
                f"autocast to {torch.get_autocast_dtype(weights.device.type)} is on: collection and update are served "
                "in float32 only, since probability ratios need it; leave them out of torch.autocast"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Networks:
        """Move to another device; raise SpecError for another type, which states and ratios are not kept in."""
        moved = fn(torch.zeros(1)).dtype
        if moved is not torch.float32:
            raise SpecError(f"an actor-critic cannot be moved to {moved}: only float32 is served")
        super()._apply(fn, recurse)
        return self

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Every entry carried from ("next", key) to key."""
        return tuple(key for trunk in self.trunks for key in trunk.memory.state_keys)

    @property
    def in_keys(self) -> tuple[str, ...]:
        """What a step reads: observation, privileged entries, mask, states and, where there are states, is_init."""
        mask = () if self.interface.mask_key is None else (self.interface.mask_key,)
        is_init = (keys.IS_INIT,) if self.state_keys else ()
        return (self.observation_key, *self.privileged_keys, *mask, *self.state_keys, *is_init)

    def run(self, slices: TensorDictBase) -> tuple[Factors, Tensor]:
        """Equal the policy's TensorDict modules in recurrent mode (tests/objectives/test_loss.py), without copies.

        Returns distribution [L, S] and value [L, S, 1] of `slices` [S, L], time first, by one pass of each trunk. The
        numbers are those of the policy in TorchRL's recurrent mode; slices laid out time first are not copied.
        """
        cores = []
        for trunk in self.trunks:
            encoded = trunk.encode_time_first(slices)
            cores.append(trunk.memory.rows(encoded, *trunk.memory.read(slices)).transpose(0, 1))
        mask_key = self.interface.mask_key
        mask = None if mask_key is None else slices.get(mask_key).transpose(0, 1)
        return self.factors(self.logits.module(cores[0]), mask), self.value.module(cores[-1])

    def factors(self, logits: Tensor, mask: Tensor | None) -> Factors:
        """Return the distribution over head indices that `logits` and `mask` describe."""
        return factorise(logits, mask, self.interface.heads.nvec, self.interface.relevant)


def _head(trunk: Trunk, out_features: int, gain: float, out_key: str) -> TensorDictModule:
    """Return core -> Linear -> ReLU -> Linear, half as wide inside as the core."""
    size = trunk.memory.out_features
    inner = max(1, size // 2)
    net = nn.Sequential(orthogonal(nn.Linear(size, inner)), nn.ReLU(), orthogonal(nn.Linear(inner, out_features), gain))
    return TensorDictModule(net, in_keys=[trunk.core_key], out_keys=[out_key])
