"""What one seed does to a host: the effect of every (blueprint, site) under every hidden deficit, and what it decides.

All values are net accuracies: the final committed test accuracy, less the rent that the `gain` reward charges for the
parameters added, so that the best choice is the one a controller is paid for. Axes: D deficits, M arms (arm 0 is
never-grow), N hosts; host n is the same host in every arm, and shares its initial weights between deficits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.statistics import Estimate
from tamiyo_trl.evaluation.statistics import paired as paired_lists

NEVER = "never-grow"


def paired(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the mean of first - second over hosts [N], with its interval."""
    return paired_lists(first.tolist(), second.tolist())


@dataclass(frozen=True)
class Effects:
    """A measured map of effects.

    Attributes:
        deficits: Names, D.
        arms: Names, M; the first is never-grow.
        net: Net final accuracies, float [D, M, N]; NaN in arms that were not measured.
    """

    deficits: tuple[str, ...]
    arms: tuple[str, ...]
    net: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.deficits), len(self.arms))
        if self.net.shape[:2] != shape or not self.arms or self.arms[0] != NEVER:
            raise ConfigError(f"effects of {shape} deficits and arms, {NEVER} first, got an array of {self.net.shape}")
        if self.net.shape[2] < 2 or np.isnan(self.net[:, 0]).any():
            raise ConfigError("effects need at least two hosts, and never-grow for every deficit")

    @property
    def hosts(self) -> int:
        """Number of hosts, N."""
        return self.net.shape[2]

    @cached_property
    def means(self) -> np.ndarray:
        """Mean of every deficit and arm, [D, M]; minus infinity where it was not measured."""
        return np.where(np.isnan(self.net).any(-1), -np.inf, self.net.mean(-1))

    @cached_property
    def best(self) -> list[int]:
        """Best arm of each deficit, D numbers."""
        return [int(arm) for arm in self.means.argmax(1)]

    @cached_property
    def constant(self) -> int:
        """The best single arm for all deficits alike."""
        return int(self.means.mean(0).argmax())

    def gain(self, deficit: int, arm: int) -> Estimate:
        """Return the arm's net gain over never-grow, paired by host."""
        return paired(self.net[deficit, arm], self.net[deficit, 0])

    def oracle_values(self) -> np.ndarray:
        """Return the mean over deficits of their best arms, one value per host [N]."""
        return np.mean([self.net[d, arm] for d, arm in enumerate(self.best)], axis=0)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what the oracle and the best constant earn on each host when it had no say in the choice, [N] each."""
        oracle, constant = np.zeros(self.hosts), np.zeros(self.hosts)
        for host in range(self.hosts):
            others = np.delete(self.net, host, axis=2)
            means = np.where(np.isnan(others).any(-1), -np.inf, others.mean(-1))
            oracle[host] = np.mean([self.net[d, arm, host] for d, arm in enumerate(means.argmax(1))])
            constant[host] = self.net[:, means.mean(0).argmax(), host].mean()
        return oracle, constant

    def left_out_gain(self, deficit: int) -> Estimate:
        """Return the net gain over never-grow of the best growing arm, each host scored by the choice of the others."""
        return paired(self.left_out_gains(deficit), np.zeros(self.hosts))

    def left_out_gains(self, deficit: int) -> np.ndarray:
        """Return `left_out_gain` of each host [N]."""
        values = np.zeros(self.hosts)
        for host in range(self.hosts):
            others = np.delete(self.net[deficit, 1:], host, axis=1)
            means = np.where(np.isnan(others).any(-1), -np.inf, others.mean(-1))
            values[host] = self.net[deficit, 1 + means.argmax(), host]
        return values - self.net[deficit, 0]

    def best_left_alone(self) -> list[str]:
        """Return the deficits under which no growing arm is shown to beat never-grow (choice by the other hosts)."""
        return [name for d, name in enumerate(self.deficits) if self.left_out_gain(d).low <= 0]

    def harmful(self) -> list[str]:
        """Return the arms whose interval lies below zero under every deficit they were measured for."""
        found = []
        for arm in range(1, len(self.arms)):
            measured = [d for d in range(len(self.deficits)) if np.isfinite(self.means[d, arm])]
            if measured and all(self.gain(d, arm).high < 0 for d in measured):
                found.append(self.arms[arm])
        return found

    def surest_harm(self) -> tuple[str, Estimate]:
        """Return the (choice, deficit) that costs most surely, of choices that do not always harm; and its net gain.

        Surest is what costs most in paired standard errors. The name is that of the choice made by all hosts, the gain
        that of the choices made without the scored host.
        """
        harmful = self.harmful()
        pairs = [
            (d, arm)
            for d in range(len(self.deficits))
            for arm in range(1, len(self.arms))
            if self.arms[arm] not in harmful and np.isfinite(self.means[d, arm])
        ]
        if not pairs:
            return "none", paired(np.zeros(self.hosts), np.zeros(self.hosts))
        gains = np.array([self.net[d, arm] - self.net[d, 0] for d, arm in pairs])
        d, arm = pairs[int(_ratio(gains).argmin())]
        values = [gains[_ratio(np.delete(gains, host, axis=1)).argmin(), host] for host in range(self.hosts)]
        return f"{self.arms[arm]} under {self.deficits[d]}", paired(np.array(values), np.zeros(self.hosts))


@dataclass(frozen=True)
class Acceptance:
    """Whether a family of hosts is a decision problem: each claim with its value and whether it holds."""

    claims: tuple[tuple[str, str, bool], ...]

    @property
    def accepted(self) -> bool:
        """Whether every claim holds."""
        return all(holds for _, _, holds in self.claims)


def acceptance(effects: Effects, constant_margin: float = 0.04, never_margin: float = 0.08) -> Acceptance:
    """Return the checks of a family: choices differ, and choosing pays against one constant choice and against none."""
    oracle, never = effects.oracle_values(), effects.net[:, 0].mean(0)
    over_constant = paired(oracle, effects.net[:, effects.constant].mean(0))
    over_never = paired(oracle, never)
    fair, fair_constant = effects.left_out()
    fair_over_constant, fair_over_never = paired(fair, fair_constant), paired(fair, never)
    alone, harmful = effects.best_left_alone(), effects.harmful()
    paying = [d for d, name in enumerate(effects.deficits) if name not in alone]
    choices = {effects.arms[effects.best[d]] for d in paying}
    ratios = {effects.deficits[d]: float(_ratio(effects.left_out_gains(d))) for d in paying}
    harm, cost = effects.surest_harm()
    return Acceptance(
        (
            (
                "the best choice differs between deficits where growing pays (at least 3)",
                ", ".join(sorted(choices)),
                len(choices) >= 3,
            ),
            _margin("oracle over the best constant choice", over_constant, constant_margin),
            _margin("the same, each host left out of the choice", fair_over_constant, 0.0),
            _margin("oracle over never-grow", over_never, never_margin),
            _margin("the same, each host left out of the choice", fair_over_never, 0.0),
            ("a choice that always harms", ", ".join(harmful) or "none", bool(harmful)),
            ("a deficit under which no growing choice is shown to pay", ", ".join(alone) or "none", bool(alone)),
            (
                "the surest harm of another choice that is kept, each host left out of the choice (interval below 0)",
                f"{harm}: {cost.text(sign=True)}",
                cost.high < 0,
            ),
            (
                "effects where growing pays exceed twice their paired standard error, each host left out of the choice",
                ", ".join(f"{name} {value:.1f}" for name, value in ratios.items()) or "none",
                bool(ratios) and min(ratios.values()) > 2,
            ),
        )
    )


def _margin(what: str, value: Estimate, margin: float) -> tuple[str, str, bool]:
    wanted = f"at least {100 * margin:.0f} points" if margin else "interval above 0"
    return (
        f"{what} ({wanted})",
        value.text(sign=True),
        value.mean >= margin and value.low > 0,
    )


def ratio(effects: Effects, deficit: int, arm: int) -> float:
    """Return the effect over its paired standard error."""
    return float(_ratio(effects.net[deficit, arm] - effects.net[deficit, 0]))


def _ratio(differences: np.ndarray) -> np.ndarray:
    """Return the mean of differences [..., N] over its standard error (none is known of a single one), [...]."""
    count = differences.shape[-1]
    error = differences.std(-1, ddof=1) / np.sqrt(count) if count > 1 else np.ones(differences.shape[:-1])
    return differences.mean(-1) / np.maximum(error, 1e-12)
