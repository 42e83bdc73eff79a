"""What Tamiyo is paid for. Every reward is a sum of named parts computed from (state, action, next state)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tamiyo_trl.envs.growth.readings import History, Readings
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op


@dataclass(frozen=True)
class RewardConfig:
    """Scale and prices.

    Attributes:
        scale: Reward per unit of validation accuracy (a fraction); 10 makes one accuracy point worth 0.1.
        rent: Accuracy (fraction) charged for each unit of log(1 + added / host parameters).
        fault_penalty: Charged once, in reward units, to an episode whose host diverged.
        gamma: Discount of the `contribution` reward's shaping; must equal the learner's.
    """

    scale: float = 10.0
    rent: float = 0.01
    fault_penalty: float = 5.0
    gamma: float = 0.99

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.rent < 0 or self.fault_penalty < 0:
            raise ConfigError(
                "reward scale must be positive, rent and fault_penalty not negative, got "
                f"{self.scale}, {self.rent}, {self.fault_penalty}"
            )


@dataclass(frozen=True)
class Outcome:
    """One step of E hosts.

    Attributes:
        before, now: Readings before and after it.
        paid_accuracy: What `now.val_accuracy` counts as in the reward, float32 [E]: itself, and where the episode ended
            the committed network's accuracy on the larger reward split.
        history: What is remembered of the episode.
        ended: Whether the episode's length is reached, bool [E].
        fault: Whether the host diverged, bool [E].
        host_parameters: Parameters of a host without seeds.
    """

    before: Readings
    now: Readings
    paid_accuracy: Tensor
    history: History
    ended: Tensor
    fault: Tensor
    host_parameters: int


Reward = Callable[[Outcome, RewardConfig], dict[str, Tensor]]


def _growth(outcome: Outcome, readings: Readings) -> Tensor:
    return (readings.added_parameters / outcome.host_parameters).log1p()


def gain(outcome: Outcome, config: RewardConfig) -> dict[str, Tensor]:
    """Pay each step's change of accuracy, less the change of rent.

    Undiscounted it sums to scale (final committed accuracy - initial accuracy - rent log(1 + final growth)), whatever
    happened on the way. The final accuracy is measured on the reward split, all earlier ones on the validation split,
    whose noise so cancels out of the sum.
    """
    accuracy = outcome.paid_accuracy - outcome.before.val_accuracy
    rent = _growth(outcome, outcome.now) - _growth(outcome, outcome.before)
    return {"accuracy": config.scale * accuracy, "rent": -config.scale * config.rent * rent}


def sparse(outcome: Outcome, config: RewardConfig) -> dict[str, Tensor]:
    """Pay what `gain` sums to, all of it at the episode's end."""
    accuracy = outcome.paid_accuracy - outcome.history.initial_accuracy
    return {
        "accuracy": config.scale * accuracy * outcome.ended,
        "rent": -config.scale * config.rent * _growth(outcome, outcome.now) * outcome.ended,
    }


# Potential of a seed by stage, in the spec era's units (domain rules 6.2; HOLDING from 6.5).
_POTENTIAL = {Stage.TRAINING: 2.0, Stage.BLENDING: 3.5, Stage.HOLDING: 5.5, Stage.FOSSILIZED: 6.0}


def stage_potential(readings: Readings) -> Tensor:
    """Return the summed potential of all seeds, float32 [E]: stage value plus min(0.3 epochs in stage, 2)."""
    table = torch.zeros(len(Stage))
    for stage, value in _POTENTIAL.items():
        table[int(stage)] = value
    dwell = (0.3 * readings.in_stage).clamp(max=2.0)
    base = table[readings.stage]
    return torch.where(base > 0, base + dwell, 0.0).sum(-1)


def contribution(outcome: Outcome, config: RewardConfig) -> dict[str, Tensor]:
    """Pay the spec era's counterfactual reward, in percentage points, with shaping that telescopes.

    Attribution 3 A, where A is the contribution, capped by the accuracy gained since germination when positive; shaping
    0.3 (gamma phi' - phi) with phi = 0 at the end; a logarithmic rent; fees and bonuses of each op; 0.05 per point of
    final accuracy. Source: domain rules 6.2.
    """
    now, before = outcome.now, outcome.before
    points = 100.0 * now.contribution
    progress = 100.0 * (now.val_accuracy - outcome.history.germination_accuracy)
    earned = torch.where(points < 0, points, torch.minimum(progress.clamp(min=0.0), points))
    in_forward = ((now.alpha > 0) & (now.stage != int(Stage.FOSSILIZED))).any(-1) & now.has_contribution
    potential = stage_potential(now) * ~outcome.ended
    shaping = 0.3 * (config.gamma * potential - stage_potential(before))
    growth = now.added_parameters / outcome.host_parameters
    return {
        "attribution": 3.0 * earned * in_forward,
        "shaping": shaping,
        "rent": -(0.5 * growth.log1p()).clamp(max=8.0),
        "action": _action_pay(outcome),
        "terminal": 5.0 * outcome.paid_accuracy * outcome.ended,
    }


def _action_pay(outcome: Outcome) -> Tensor:
    """Fee or bonus of the op, judged by the contribution the controller knew when it acted: float32 [E]."""
    points, known = 100.0 * outcome.before.contribution, outcome.before.has_contribution
    fossilize = torch.where(points > 0, 0.5 + 0.1 * points, -0.2) - 0.01
    cull = torch.where(points < -0.5, 0.3, torch.where(points < 0, 0.1, -0.3 - 0.05 * points)) * known - 0.005
    pay = torch.zeros_like(points)
    for op, amount in ((Op.GERMINATE, torch.full_like(points, -0.02)), (Op.FOSSILIZE, fossilize), (Op.CULL, cull)):
        pay = torch.where(outcome.now.op == int(op), amount, pay)
    return pay


REWARDS: dict[str, tuple[Reward, tuple[str, ...]]] = {
    "gain": (gain, ("accuracy", "rent", "fault")),
    "sparse": (sparse, ("accuracy", "rent", "fault")),
    "contribution": (contribution, ("attribution", "shaping", "rent", "action", "terminal", "fault")),
}


def register_reward(name: str, reward: Reward, parts: tuple[str, ...]) -> None:
    """Let controllers be paid as `reward=name`: `reward(outcome, config)` returns the named parts, float32 [E] each.

    A diverged host pays `fault` and nothing else, whatever the reward. Worker processes import your script anew:
    register where it is imported, not under `if __name__ == "__main__"`.

    Raises:
        ConfigError: the name is another reward's, or the parts' names are not distinct, at least one, and not "fault".
    """
    if not parts or len(set(parts)) < len(parts) or "fault" in parts:
        raise ConfigError(f"parts must be distinct, at least one, and not 'fault': got {parts}")
    known = REWARDS[name][0] if name in REWARDS else reward
    if (known.__module__, known.__qualname__) != (reward.__module__, reward.__qualname__):
        raise ConfigError(f"the name of reward {name!r} is taken; choose another")
    REWARDS[name] = (reward, (*parts, "fault"))


def reward_parts(name: str) -> tuple[str, ...]:
    """Return the names of a reward's parts.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in REWARDS:
        raise ConfigError(f"reward must be one of {sorted(REWARDS)}, got {name!r}")
    return REWARDS[name][1]


def pay(name: str, outcome: Outcome, config: RewardConfig) -> dict[str, Tensor]:
    """Return the parts of the named reward, float32 [E] each; a diverged host pays its penalty and nothing else."""
    parts = {
        part: torch.where(outcome.fault, 0.0, value.nan_to_num())
        for part, value in REWARDS[name][0](outcome, config).items()
    }
    return parts | {"fault": -config.fault_penalty * outcome.fault.float()}
