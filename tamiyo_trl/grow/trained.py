"""Trained controllers: from the package by name, from a file, or from the folder of any finished run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import Tensor
from torchrl.envs import Compose

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.actions import HEAD_NAMES
from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.grow.saved import rebuilt
from tamiyo_trl.grow.seat import Seat
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.policies import ActorCritic, ActorCriticOptions, make_actor_critic
from tamiyo_trl.seeds import LifecycleConfig
from tamiyo_trl.training import load_checkpoint

SHIPPED = Path(__file__).parent / "controllers"
ACTOR = ("networks.normaliser.", "networks.trunk_modules.0.", "networks.logits.")  # what acting needs; no critic
FORMAT = "tamiyo_trl controller"


@dataclass(frozen=True)
class Card:
    """What a controller is, and what is known of it.

    Attributes:
        name: What people call it.
        memory, hidden_size, encoder_size: Of its network (see `make_actor_critic`).
        space: What it sees and can do.
        world: Settings of the environment that it was trained in.
        command: What trained it.
        versions: Of Python and of the packages that trained it.
        held_out: Figures on hosts that it never trained on, a line each.
        limits: What it is not known to do, a line each.
    """

    name: str
    memory: str
    hidden_size: int
    encoder_size: int
    space: GrowthSpace
    world: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the card as JSON."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Return the card that `to_json` wrote."""
        told = json.loads(text)
        space, lines = rebuilt(GrowthSpace, told["space"]), {n: tuple(told[n]) for n in ("held_out", "limits")}
        return cls(**(told | lines | {"space": space}))


@dataclass(frozen=True)
class TrainedController:
    """A policy that was trained to grow networks, ready to act; its critic is left behind.

    Attributes:
        card: What it is.
        actor_critic: Its network.
    """

    card: Card
    actor_critic: ActorCritic

    @property
    def space(self) -> GrowthSpace:
        """What it sees and can do."""
        return self.card.space

    @property
    def world(self) -> GrowthConfig:
        """The environment that it was trained in: `GrowthEnv(controller.world)`.

        Raises:
            ConfigError: its settings are of another version, or name what is not registered here.
        """
        return rebuilt(GrowthConfig, self.card.world)

    @property
    def policy(self) -> ProbabilisticTensorDictSequential:
        """Observation, mask and state -> action: what `evaluate` takes."""
        return self.actor_critic.policy

    def transforms(self) -> Compose:
        """Return what its memory needs of an environment: `TransformedEnv(env, controller.transforms())`."""
        return self.actor_critic.transforms()

    def actor_state(self) -> dict[str, Tensor]:
        """Return copies of the weights that acting needs."""
        state = self.actor_critic.state_dict()
        return {name: value.detach().clone() for name, value in state.items() if name.startswith(ACTOR)}


def shipped_controllers() -> tuple[str, ...]:
    """Return the names of the controllers that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.safetensors")))


def load_controller(source: str | os.PathLike[str]) -> TrainedController:
    """Return a trained controller; no code of what is read is run.

    source: a name of `shipped_controllers`, a `.safetensors` file, or the folder of a run of `recipes/train.py`.

    Raises:
        ConfigError: there is no such controller.
        CheckpointError: what is there is not one, or is damaged.
    """
    path = Path(source)
    if str(source) in shipped_controllers():
        return read_controller(SHIPPED / f"{source}.safetensors")
    if path.is_file() and path.suffix == ".safetensors":
        return read_controller(path)
    if (path / "config.json").is_file():
        return read_run(path)
    raise ConfigError(
        f"a controller is one of {', '.join(shipped_controllers())}, a .safetensors file, or the folder of a run: "
        f"got {str(source)!r}"
    )


def read_controller(path: Path) -> TrainedController:
    """Return the controller in a file that `write_controller` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a controller: {error}") from error
    if told.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a {FORMAT}")
    try:
        card = Card.from_json(told["card"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"the card of {path} is damaged: {error!r}") from error
    return _built(card, state, str(path))


def write_controller(path: Path, controller: TrainedController) -> None:
    """Write a controller to a file: what acting needs, matrices in half precision, and the card."""
    state = {name: value.half() if value.ndim > 1 else value for name, value in controller.actor_state().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"format": FORMAT, "card": controller.card.to_json()})


def read_run(folder: Path) -> TrainedController:
    """Return the controller of a run of `recipes/train.py` at its newest checkpoint."""
    try:
        saved = json.loads((folder / "config.json").read_text())
        settings = saved["settings"]
        world = find_setting(settings, "env")
        space = GrowthSpace(
            sites=len(world["sites"]),
            blueprints=tuple(world["blueprints"]),
            observation=world["observation"],
            lifecycle=rebuilt(LifecycleConfig, world["lifecycle"]),
            max_kept=world.get("max_kept"),
            val_every=world.get("val_every", 1),
        )
        sizes = {name: int(find_setting(settings, name)) for name in ("hidden_size", "encoder_size")}
        memory = str(find_setting(settings, "memory"))
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{folder / 'config.json'} is not of a run of recipes/train.py: {error!r}") from error
    command = " ".join(["python recipes/train.py", *saved.get("arguments", [])])
    card = Card(folder.name, memory, sizes["hidden_size"], sizes["encoder_size"], space, world, command)
    state = load_checkpoint(folder / "checkpoints")
    return _built(card, state["learner"]["actor_critic"], str(folder))


def find_setting(settings: Mapping[str, Any], name: str) -> Any:
    """Return the value called `name` in settings within settings."""
    if name in settings:
        return settings[name]
    for inner in settings.values():
        if isinstance(inner, Mapping):
            try:
                return find_setting(inner, name)
            except KeyError:
                continue
    raise KeyError(name)


def _built(card: Card, state: Mapping[str, Tensor], where: str) -> TrainedController:
    actor_critic = make_actor_critic(
        Seat(card.space),
        card.memory,
        hidden_size=card.hidden_size,
        encoder_size=card.encoder_size,
        options=ActorCriticOptions(head_names=HEAD_NAMES),
    )
    wanted = {name: value for name, value in actor_critic.state_dict().items() if name.startswith(ACTOR)}
    for name, value in wanted.items():
        if name not in state or state[name].shape != value.shape:
            found = list(state[name].shape) if name in state else "nothing"
            raise CheckpointError(f"{where}: {name} should be {list(value.shape)}, there is {found}")
    own = {name: state[name].to(value.dtype) for name, value in wanted.items()}
    actor_critic.load_state_dict(own, strict=False)
    actor_critic.requires_grad_(False).eval()
    return TrainedController(card, actor_critic)
