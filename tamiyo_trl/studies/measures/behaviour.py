"""What controllers do: which seeds they try under which deficit, in which order, whether they repeat what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.seeds.lifecycle import Op


@dataclass(frozen=True)
class Life:
    """One seed's life.

    Attributes:
        site, blueprint: Where and what.
        planted: Step of its germination.
        ended: Step of its end; the episode's length where it was neither fossilized nor culled.
        verdict: "fossilized", "culled" or "neither".
    """

    site: int
    blueprint: int
    planted: int
    ended: int
    verdict: str


def seed_lives(episode: Episode) -> list[Life]:
    """Return the lives of an episode's seeds, in the order they were planted."""
    found: list[Life] = []
    live: tuple[int, int, int] | None = None
    for step, (op, site, kind) in enumerate(episode.action.tolist()):
        if op == Op.GERMINATE:
            live = (site, kind, step)
        elif op != Op.WAIT and live is not None:
            found.append(Life(*live, step, "fossilized" if op == Op.FOSSILIZE else "culled"))
            live = None
    if live is not None:
        found.append(Life(*live, len(episode.action), "neither"))
    return found


@dataclass(frozen=True)
class Behaviour:
    """What a controller does over a set of episodes; means over episodes unless said otherwise, NaN where undefined.

    Attributes:
        episodes: How many.
        planted, fossilized, culled: Seeds per episode.
        first_step: Step of the first germination, over the episodes that have one.
        first_choices: The commonest first choices as ((blueprint, site), share of episodes), three at most.
        orders: The commonest sequences of choices as (sequence, share of episodes), three at most.
        cull_age: Steps from germination to cull, over culls.
        replants: Germinations that follow a cull in the same episode, over all episodes.
        repeats: Share of these that plant a (blueprint, site) culled before in the episode.
        repeats_blueprint: Share of these that plant a blueprint culled before in the episode.
    """

    episodes: int
    planted: float
    fossilized: float
    culled: float
    first_step: float
    first_choices: tuple[tuple[tuple[int, int], float], ...]
    orders: tuple[tuple[tuple[tuple[int, int], ...], float], ...]
    cull_age: float
    replants: int
    repeats: float
    repeats_blueprint: float


def behaviour(episodes: Sequence[Episode]) -> Behaviour:
    """Return what a controller does in these episodes."""
    lives = [seed_lives(episode) for episode in episodes]
    choices = [tuple((life.blueprint, life.site) for life in each) for each in lives]
    replants, again, same_kind = 0, 0, 0
    for each in lives:
        for number, life in enumerate(each):
            failed = [earlier for earlier in each[:number] if earlier.verdict == "culled"]
            if failed:
                replants += 1
                again += any((f.blueprint, f.site) == (life.blueprint, life.site) for f in failed)
                same_kind += any(f.blueprint == life.blueprint for f in failed)
    every = [life for each in lives for life in each]
    return Behaviour(
        episodes=len(episodes),
        planted=len(every) / len(episodes),
        fossilized=sum(life.verdict == "fossilized" for life in every) / len(episodes),
        culled=sum(life.verdict == "culled" for life in every) / len(episodes),
        first_step=_mean([each[0].planted for each in lives if each]),
        first_choices=tuple(
            (choice, count / len(episodes))
            for choice, count in Counter(each[0] for each in choices if each).most_common(3)
        ),
        orders=tuple((order, count / len(episodes)) for order, count in Counter(choices).most_common(3)),
        cull_age=_mean([life.ended - life.planted for life in every if life.verdict == "culled"]),
        replants=replants,
        repeats=again / replants if replants else float("nan"),
        repeats_blueprint=same_kind / replants if replants else float("nan"),
    )


def adaptation(episodes: Sequence[Episode], shuffles: int = 200, seed: int = 0) -> float:
    """Return how much the first choice tells of the hidden deficit, in bits: 0 where it does not depend on it.

    Mutual information of the two, less what it is on average when the same choices are dealt out to the deficits at
    random: the plug-in estimate alone grows with the number of choices however they are made.
    """
    deficits = np.array([episode.deficit for episode in episodes])
    choices = [_first_choice(episode) for episode in episodes]
    names = {choice: number for number, choice in enumerate(dict.fromkeys(choices))}
    numbers = np.array([names[choice] for choice in choices])
    rng = np.random.default_rng(seed)
    by_chance = [_information(rng.permutation(deficits), numbers) for _ in range(shuffles)]
    return _information(deficits, numbers) - float(np.mean(by_chance))


def _information(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mutual information of two labellings in bits, plug-in estimate."""
    joint = np.unique(np.stack([first, second]), axis=1, return_counts=True)[1]
    parts = [np.unique(labels, return_counts=True)[1] for labels in (first, second)]
    return sum(_entropy(counts / counts.sum()) for counts in parts) - _entropy(joint / joint.sum())


def _first_choice(episode: Episode) -> tuple[int, int] | None:
    lives = seed_lives(episode)
    return (lives[0].blueprint, lives[0].site) if lives else None


def _entropy(shares: np.ndarray) -> float:
    return float(-(shares * np.log2(shares)).sum())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
