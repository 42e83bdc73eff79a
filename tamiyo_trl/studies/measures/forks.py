"""Ground truth of a decision: the host is forked, one branch keeps the seed, the other removes it, neither grows again.

Both branches train on with the same images in the same order to the episode's end, under the environment's own rules;
the committed networks' test accuracies decide whether the seed helped or harmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.envs.growth.world import World
from tamiyo_trl.seeds.lifecycle import Op


@dataclass(frozen=True)
class Decision:
    """A seed's end as a controller decided it, with both of its outcomes.

    Attributes:
        episode: Seed of the episode.
        deficit: Number of its hidden deficit.
        step: Steps taken when it was decided.
        op: `Op.FOSSILIZE` or `Op.CULL`.
        site, blueprint: Of the seed.
        stage, age: Of the seed when it was decided.
        kept: Final test accuracy where the seed is kept and fossilized as soon as it may be, fraction.
        removed: Final test accuracy where it is culled at once, fraction.
        could_stay: Whether there was time to fossilize it; where not, both branches end without the seed.
    """

    episode: int
    deficit: int
    step: int
    op: int
    site: int
    blueprint: int
    stage: int
    age: int
    kept: float
    removed: float
    could_stay: bool

    @property
    def worth(self) -> float:
        """What keeping the seed is worth in final test accuracy; negative where it harms."""
        return self.kept - self.removed


# Parts of a world's state that hold a row for each host.
BY_HOST = ("lifecycle", "readings", "shown", "history", "hidden", "counts")


def fork_world(world: World, hosts: Sequence[int]) -> World:
    """Return a world of exact, independent copies of these hosts in their present episodes; repeats are allowed."""
    rows = torch.tensor(list(hosts))
    state = world.state_dict()
    episodes = state["episodes"]
    branch = World(world.config, len(rows), world.episodes.root_seed, world.device)
    branch.load_state_dict(
        {
            "fleet": world.fleet.fork(list(hosts)).state_dict(),
            **{name: _take(state[name], rows) for name in BY_HOST},
            "episodes": {
                "root_seed": episodes["root_seed"],
                "number": episodes["number"][rows],
                "seed": episodes["seed"][rows],
                "orders": [episodes["orders"][host] for host in hosts],
            },
        }
    )
    return branch


def _take(tensors: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: value[rows].clone() for name, value in tensors.items()}


def play_out(world: World, removes: Tensor) -> tuple[Tensor, Tensor]:
    """Play the live seed of every host to its end; return final test accuracies [N] and whether it was fossilized.

    Where `removes` (bool [N]) it is culled at once, elsewhere fossilized as soon as it may be; nothing grows again. All
    hosts must be at the same step.
    """
    fossils = world.counts["fossilized"].clone()
    site = world.lifecycle.is_live.long().argmax(-1)
    rows = torch.arange(len(removes))
    first = True
    while True:
        op = torch.where(world.mask[rows, int(Op.FOSSILIZE), site, 0], int(Op.FOSSILIZE), int(Op.WAIT))
        op = torch.where(removes, int(Op.CULL) if first else int(Op.WAIT), op)
        first = False
        action = torch.stack([op, torch.where(op == int(Op.WAIT), 0, site), torch.zeros_like(op)], dim=-1)
        if world.step(action).ended.all():
            return world.final_accuracy.clone(), world.counts["fossilized"] > fossils


class GroundTruth:
    """Watches a rollout (see `rollout_episodes`) and measures both outcomes of every seed that is culled or fossilized.

    Args:
        env: The GrowthEnv that is played.
        ops: Which decisions to measure.

    Attributes:
        decisions: What was measured so far, in the order it was decided.
    """

    def __init__(self, env: GrowthEnv, ops: Sequence[Op] = (Op.FOSSILIZE, Op.CULL)) -> None:
        self._env, self._ops = env, torch.tensor([int(op) for op in ops])
        self.decisions: list[Decision] = []

    def __call__(self, tensordict: TensorDictBase) -> None:
        """Fork every host whose seed is being decided on, and play both branches to the end."""
        action = tensordict[keys.ACTION].cpu()
        deciding = torch.isin(action[:, 0], self._ops).nonzero().flatten()
        steps = self._env.world.readings.step
        for step in steps[deciding].unique().tolist():
            self._measure(deciding[steps[deciding] == step].tolist(), action)

    def _measure(self, hosts: list[int], action: Tensor) -> None:
        world = self._env.world
        removes = torch.arange(2 * len(hosts)) >= len(hosts)
        accuracy, stayed = play_out(fork_world(world, hosts * 2), removes)
        now = world.readings
        for place, host in enumerate(hosts):
            op, site, _ = action[host].tolist()
            self.decisions.append(
                Decision(
                    episode=int(world.episodes.seed[host]),
                    deficit=world.episodes.deficit_number(host),
                    step=int(now.step[host]),
                    op=op,
                    site=site,
                    blueprint=int(now.blueprint[host, site]),
                    stage=int(now.stage[host, site]),
                    age=int(now.age[host, site]),
                    kept=round(float(accuracy[place]), 6),
                    removed=round(float(accuracy[len(hosts) + place]), 6),
                    could_stay=bool(stayed[place]),
                )
            )
