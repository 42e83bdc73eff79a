"""GrowthEnv: E real neural networks training on real images in lockstep, which a controller may grow.

The TorchRL face of the world: specs, reset, step, legal random actions, state. What happens in a step is in `world.py`,
what it is worth in `rewards.py`, what is seen of it in `observations.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.envs.growth import specs
from tamiyo_trl.envs.growth.actions import HEAD_NAMES, growth_actions
from tamiyo_trl.envs.growth.config import GrowthConfig
from tamiyo_trl.envs.growth.episodes import Numbering
from tamiyo_trl.envs.growth.observations import Scene, feature_bounds, observe
from tamiyo_trl.envs.growth.readings import Readings
from tamiyo_trl.envs.growth.rewards import pay, reward_parts
from tamiyo_trl.envs.growth.situation import situation_text
from tamiyo_trl.envs.growth.world import World
from tamiyo_trl.errors import CheckpointError, ConfigError, IllegalActionError
from tamiyo_trl.seeding import generator


class GrowthEnv(EnvBase):
    """A natively batched environment of `n_envs` hosts; `envs/specs.py` lists what it shows, takes and returns.

    Env e's k-th episode is a function of (seed, (first_env + e) // group_size, k) and its own actions alone.

    Args:
        config: What to simulate.
        n_envs: Hosts trained in lockstep, E.
        seed: Root of every random stream.
        device: Where hosts and images live.
        first_env: Number of the first env, so that several processes can share out the envs of one seed.
        group_size: Neighbouring envs that play the same hosts: weights, data, order and seed qualities are equal, and
            what becomes of them differs by the actions alone. Their `info/episode_seed` is the same.

    Attributes:
        feature_names: Name of every observation column.
        joint_actions: Every action that can ever be legal, int64 [A, 3]: the table `FlatAction` takes.
        world: Hosts, seeds and episodes behind the environment.

    Raises:
        ConfigError: the configuration cannot work.
        IllegalActionError: `step` received an action that the mask forbids.
    """

    head_names = HEAD_NAMES

    def __init__(
        self,
        config: GrowthConfig,
        n_envs: int = 16,
        seed: int = 0,
        device: str | torch.device = "cpu",
        first_env: int = 0,
        group_size: int = 1,
    ) -> None:
        if n_envs < 1:
            raise ConfigError(f"n_envs must be at least 1, got {n_envs}")
        if group_size < 1 or n_envs % group_size or first_env % group_size:
            raise ConfigError(
                f"group_size must divide n_envs and first_env: {group_size} does not divide {n_envs} and {first_env}"
            )
        super().__init__(device=torch.device(device), batch_size=torch.Size([n_envs]))
        self.config, self.n_envs = config, n_envs
        self.world = World(config, n_envs, seed, torch.device(device), Numbering(first_env, group_size))
        self._views = config.views
        n_sites, n_blueprints = len(config.sites), len(config.blueprints)
        self.feature_names = config.feature_names
        self.joint_actions = growth_actions(n_sites, n_blueprints)
        self._action_rng = generator(seed, "random actions")
        self._before = self.world.shown.clone()

        bounds = {entry: feature_bounds(view, n_sites, config.blueprints) for entry, view in self._views.items()}
        self.observation_spec = specs.observation_spec(
            bounds, n_envs, (n_sites, n_blueprints), reward_parts(config.reward)
        ).to(self.device)
        self.action_spec = specs.action_spec(n_envs, n_sites, n_blueprints).to(self.device)
        self.reward_spec = specs.reward_spec(n_envs).to(self.device)
        self.done_spec = specs.done_spec(n_envs).to(self.device)

    def _set_seed(self, seed: int | None) -> None:
        """Seed the coming episodes; the present ones go on undisturbed."""
        if seed is not None:
            self.world.episodes.restart(seed)
            self._action_rng = generator(seed, "random actions")

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        rows = torch.ones(self.n_envs, dtype=torch.bool)
        if tensordict is not None and "_reset" in tensordict.keys():
            rows = tensordict["_reset"].reshape(self.n_envs).cpu()
        if rows.any():
            self.world.begin(rows)
            self._before.assign(rows, self.world.shown)
        nowhere = torch.zeros(self.n_envs, dtype=torch.bool)
        unpaid = {part: torch.zeros(self.n_envs) for part in reward_parts(self.config.reward)}
        return self._show(self.world.shown, nowhere, unpaid).update(self._end_flags(nowhere))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict[keys.ACTION]
        if action.dtype != torch.long or action.shape != self.action_spec.shape:
            raise IllegalActionError(
                f"an action is int64 {list(self.action_spec.shape)}, got {action.dtype} {list(action.shape)}"
            )
        before = self.world.shown.clone()
        outcome = self.world.step(action.cpu())
        self._before = before
        parts = pay(self.config.reward, outcome, self.config.rewards)
        shown = self._show(before, outcome.fault, parts)
        shown[keys.REWARD] = torch.stack(list(parts.values())).sum(0)[:, None].to(self.device)
        return shown.update(self._end_flags(outcome.ended | outcome.fault))

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Write a random legal action: uniform over the legal ops, then over what is legal under the op."""
        if tensordict is None:
            tensordict = TensorDict({}, batch_size=self.batch_size, device=self.device)
        weights = self.world.mask.float()
        weights /= weights.sum((2, 3), keepdim=True).clamp(min=1.0)
        flat = torch.multinomial(weights.flatten(1), 1, generator=self._action_rng).squeeze(-1)
        tensordict[keys.ACTION] = torch.stack(torch.unravel_index(flat, weights.shape[1:]), dim=-1).to(self.device)
        return tensordict

    def render(self, env: int = 0) -> str:
        """Return what a controller sees of one env and what it may do, as a text table."""
        features, world = self._views[keys.OBSERVATION], self.world
        observation = observe(features, self._scene(self._before))[env]
        return situation_text(features, observation, world.readings, env, world.mask[env], self.config.blueprints)

    def _scene(self, before: Readings) -> Scene:
        world, config = self.world, self.config
        return Scene(
            now=world.shown,
            before=before,
            exact=world.readings,
            history=world.history,
            hidden=world.hidden,
            germinated=world.counts["germinated"],
            episode_steps=config.episode_steps,
            host_parameters=world.fleet.host_parameters,
            blueprints=config.blueprints,
        )

    def _show(self, before: Readings, fault: Tensor, parts: dict[str, Tensor]) -> TensorDictBase:
        """Return everything of this step but reward and end flags."""
        world, now = self.world, self.world.readings
        scene = self._scene(before)
        info = {
            "val_accuracy": now.val_accuracy.nan_to_num(),
            "train_accuracy": now.train_accuracy.nan_to_num(),
            "final_accuracy": world.final_accuracy,
            "paid_accuracy": world.paid_accuracy.nan_to_num(),
            "added_parameters": now.added_parameters,
            **world.counts,
            "deficit": world.hidden.deficit.float(),
            "diverged": fault.float(),
            "episode_seed": world.episodes.seed,
        }
        sites = {"stage": now.stage, "blueprint": now.blueprint, "alpha": now.alpha}
        shown = TensorDict(
            {
                **{entry: observe(view, scene) for entry, view in self._views.items()},
                keys.ACTION_MASK: world.mask,
                keys.REWARD_PARTS: {name: value.float()[:, None] for name, value in parts.items()},
                keys.INFO: {name: value.clone()[:, None] for name, value in info.items()}
                | {name: value.clone() for name, value in sites.items()},
            },
            batch_size=self.batch_size,
        )
        return shown.to(self.device)

    def _end_flags(self, ended: Tensor) -> dict[str, Tensor]:
        ended = ended[:, None].to(self.device)
        return {keys.DONE: ended, keys.TERMINATED: ended.clone(), keys.TRUNCATED: torch.zeros_like(ended)}

    def _described(self) -> dict[str, str]:
        """Return every setting by name, as text."""
        settings = {name.name: repr(getattr(self.config, name.name)) for name in dataclasses.fields(self.config)}
        return settings | {"n_envs": repr(self.n_envs)}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the whole live state, random streams included."""
        return {
            "config": self._described(),
            "world": self.world.state_dict(),
            "action_rng": self._action_rng.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Restore what `state_dict` returned; the next step gives the numbers it would have given.

        Raises:
            CheckpointError: the state is of hosts of another configuration, named; nothing has happened then.
        """
        saved, present = state_dict.get("config", {}), self._described()
        for name in sorted(saved.keys() | present.keys()):
            if saved.get(name) != present.get(name):
                raise CheckpointError(
                    f"the state is of hosts with {name} = {saved.get(name)}, these have {present.get(name)}"
                )
        self.world.load_state_dict(state_dict["world"])
        self._before = self.world.shown.clone()
        self._action_rng.set_state(state_dict["action_rng"])
