"""The same seeds for every controller: one seed of a drawn blueprint and site is planted, then the controller is free.

A trained controller chooses its seeds, so two controllers never judge the same ones, and one that plants well has
little to cull. Here both meet the same seeds, good and bad, and what they do about them can be compared host by host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.policies.baselines import Baseline
from tamiyo_trl.seeding import generator
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.measures.forks import Decision

PLANT_AT = 3


def imposed_choice(episode_seed: int, n_sites: int, n_blueprints: int) -> tuple[int, int]:
    """Return the (site, blueprint) that is planted in this episode, each drawn uniformly."""
    rng = generator(episode_seed, "imposed seed")
    return int(torch.randint(n_sites, (), generator=rng)), int(torch.randint(n_blueprints, (), generator=rng))


class ImposedSeed(TensorDictModuleBase):
    """A policy that waits until a step, plants the imposed seed of each episode then, and is free from then on.

    The policy acts at every step, so that its memory has seen the whole episode; until it is free its action is
    replaced.
    """

    def __init__(self, policy: TensorDictModuleBase, at: int = PLANT_AT) -> None:
        super().__init__()
        self.policy, self.at = policy, at
        self.in_keys, self.out_keys = policy.in_keys, policy.out_keys
        self._step = torch.zeros(0, dtype=torch.long)
        self._episode = torch.zeros(0, dtype=torch.long)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the action: WAIT, the planting, or what the policy chose."""
        tensordict = self.policy(tensordict)
        episode = tensordict[keys.INFO, "episode_seed"].flatten()
        if len(self._step) != len(episode):
            self._step, self._episode = torch.zeros_like(episode), torch.full_like(episode, -1)
        self._step = torch.where(episode == self._episode, self._step + 1, 0)
        self._episode = episode.clone()
        action: Tensor = tensordict[keys.ACTION].clone()
        n_sites, n_blueprints = tensordict[keys.ACTION_MASK].shape[-2:]
        action[self._step < self.at] = 0
        for host in (self._step == self.at).nonzero().flatten().tolist():
            site, kind = imposed_choice(int(episode[host]), n_sites, n_blueprints)
            action[host] = torch.tensor([int(Op.GERMINATE), site, kind])
        return tensordict.set(keys.ACTION, action)


class CullAtOnce(Baseline):
    """Culls every seed as soon as it may: what ground truth of imposed seeds is measured with."""

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return CULL where legal, else WAIT."""
        legal = mask[:, int(Op.CULL), :, 0]
        action = torch.zeros(len(mask), 3, dtype=torch.long)
        action[:, 0] = torch.where(legal.any(-1), int(Op.CULL), int(Op.WAIT))
        action[:, 1] = legal.long().argmax(-1)
        return action


@dataclass(frozen=True)
class Judgement:
    """What a controller did about an imposed seed.

    Attributes:
        episode: Seed of the episode.
        verdict: "culled", "fossilized" or "neither".
        step: Step of the verdict; the episode's length for "neither".
        worth: What keeping the seed is worth in final test accuracy.
    """

    episode: int
    verdict: str
    step: int
    worth: float


def judgements(episodes: Sequence[Episode], truth: Sequence[Decision], at: int = PLANT_AT) -> list[Judgement]:
    """Return what a controller did about the imposed seeds, in the order of the episodes.

    `truth` holds the decisions of a controller that culls every imposed seed at once, on the same hosts.
    """
    worth = {decision.episode: decision.worth for decision in truth}
    found = []
    for episode in episodes:
        verdict, when = "neither", len(episode.action)
        for step, (op, site, _) in enumerate(episode.action.tolist()):
            if step > at and op in (Op.FOSSILIZE, Op.CULL) and site == episode.action[at, 1]:
                verdict, when = ("culled" if op == Op.CULL else "fossilized"), step
                break
        found.append(Judgement(episode.seed, verdict, when, worth[episode.seed]))
    return found
