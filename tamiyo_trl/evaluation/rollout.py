"""Whole episodes of any controller on held-out hosts, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase, set_interaction_type
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.seeding import derive_seed

Tick = Callable[[int], None]
Watch = Callable[[TensorDictBase], None]


def rollout_episodes(
    env: EnvBase,
    policy: TensorDictModuleBase,
    episodes: int,
    *,
    on_episodes: Tick | None = None,
    interaction: InteractionType = InteractionType.DETERMINISTIC,
    watch: Watch | None = None,
) -> list[TensorDictBase]:
    """Return `episodes` complete episodes, each a TensorDict [T], in the order (k-th episode, env).

    Every env plays the same number of episodes, so that equal seeds give equal hosts to every policy. The policy acts
    by its mode unless `interaction` says otherwise; `on_episodes` is told how many more are complete, and `watch` sees
    every step of all envs once the policy has chosen and before the environment acts.

    Raises:
        ConfigError: `episodes` is not a multiple of the number of envs.
    """
    n_envs = env.batch_size.numel()
    if episodes < 1 or episodes % n_envs:
        raise ConfigError(f"episodes must be a positive multiple of the {n_envs} envs, got {episodes}")
    each = episodes // n_envs
    steps: list[TensorDictBase] = []
    ends: list[list[int]] = [[0] for _ in range(n_envs)]  # of each env: where its episodes begin and end
    tensordict = env.reset()
    with torch.no_grad(), set_interaction_type(interaction):
        while min(map(len, ends)) <= each:
            tensordict = policy(tensordict)
            if watch is not None:
                watch(tensordict)
            taken, tensordict = env.step_and_maybe_reset(tensordict)
            steps.append(taken.reshape(n_envs))
            ended = taken["next", keys.DONE].reshape(n_envs).nonzero().flatten().tolist()
            for index in ended:
                ends[index].append(len(steps))
            if on_episodes is not None and ended:
                on_episodes(len(ended))
    played = torch.stack(steps, 1)
    return [played[number, own[k] : own[k + 1]] for k in range(each) for number, own in enumerate(ends)]


@dataclass(frozen=True)
class Episode:
    """What one controller made of one host.

    Attributes:
        seed: The episode's seed: equal seeds are the same host, data and order.
        deficit: Number of its hidden deficit.
        final_accuracy: Committed network's accuracy on the test split, fraction.
        reward: Undiscounted return.
        added_parameters: Of the committed network.
        germinated, fossilized, culled: Seeds so far.
        val_accuracy: After each step, fraction [T].
        stage, blueprint, alpha: Of every site after each step, [T, S].
        action: Taken at each step, int [T, 3].
    """

    seed: int
    deficit: int
    final_accuracy: float
    reward: float
    added_parameters: float
    germinated: int
    fossilized: int
    culled: int
    val_accuracy: np.ndarray
    stage: np.ndarray
    blueprint: np.ndarray
    alpha: np.ndarray
    action: np.ndarray

    @classmethod
    def read(cls, steps: TensorDictBase) -> Episode:
        """Read a complete episode, TensorDict [T].

        Raises:
            SpecError: the environment did not report what GrowthEnv reports.
        """
        if keys.INFO not in steps["next"].keys():
            raise SpecError("only episodes of GrowthEnv can be read: ('next', 'info') is missing")
        info = steps["next", keys.INFO]
        last = {name: value[-1].item() for name, value in info.items() if value.shape[-1] == 1 and value.ndim == 2}
        sites = {name: info[name].cpu().numpy() for name in ("stage", "blueprint", "alpha")}
        return cls(
            seed=int(info["episode_seed"][-1]),
            deficit=int(last["deficit"]),
            final_accuracy=last["final_accuracy"],
            reward=float(steps["next", keys.REWARD].sum()),
            added_parameters=last["added_parameters"],
            germinated=int(last["germinated"]),
            fossilized=int(last["fossilized"]),
            culled=int(last["culled"]),
            val_accuracy=info["val_accuracy"].squeeze(-1).cpu().numpy(),
            action=steps[keys.ACTION].cpu().numpy(),
            **sites,
        )


def evaluate(
    env: EnvBase,
    policy: TensorDictModuleBase,
    episodes: int,
    *,
    on_episodes: Tick | None = None,
    interaction: InteractionType = InteractionType.RANDOM,
    seed: int = 0,
) -> list[Episode]:
    """Return what a policy makes of `episodes` episodes of a GrowthEnv, ordered by (k-th episode, env).

    The policy acts as it was trained, by samples from its distribution, drawn from a stream of their own that `seed`
    begins; `interaction` DETERMINISTIC takes its mode instead, which is another policy: one that waits with probability
    0.6 at every step waits for ever. Two policies evaluated on environments of one seed meet the same hosts in the same
    order: results pair by index.

    Raises:
        ConfigError: `episodes` is not a multiple of the number of envs.
        SpecError: the environment is not a GrowthEnv.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "evaluation"))
        steps = rollout_episodes(env, policy, episodes, on_episodes=on_episodes, interaction=interaction)
    return [Episode.read(episode) for episode in steps]
