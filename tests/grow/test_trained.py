"""Trained controllers: shipped, from a file, from a run; they act as they were trained, and no code is run."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import SGD
from torchrl.envs import TransformedEnv

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.envs.growth.actions import HEAD_NAMES
from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.evaluation import evaluate
from tamiyo_trl.grow import Card, Grower, GrowthSpace, TrainedController, load_controller
from tamiyo_trl.grow.seat import Seat
from tamiyo_trl.grow.trained import write_controller
from tamiyo_trl.policies import ActorCriticOptions, make_actor_critic
from tamiyo_trl.training import save_checkpoint
from tests.grow.nets import make_net, measure, validate

WORLD = GrowthConfig(
    image_size=8,
    splits=SplitSizes(train=64, val=32, test=32),
    training=HostTrainingConfig(images_per_step=32),
    observation="minimal",
)


def controller_of(memory: str, space: GrowthSpace, seed: int = 0) -> TrainedController:
    """Return an untrained controller whose weights are exact in half precision."""
    options = ActorCriticOptions(head_names=HEAD_NAMES)
    network = make_actor_critic(Seat(space), memory, hidden_size=16, encoder_size=16, seed=seed, options=options)
    for p in network.parameters():
        p.data = p.data.half().float()
    return TrainedController(Card("toy", memory, 16, 16, space), network)


@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
@pytest.mark.parametrize("observation", ["minimal", "snapshot"])
def test_a_written_controller_reads_back_and_acts_alike(memory: str, observation: str, tmp_path: Path) -> None:
    controller = controller_of(memory, GrowthSpace(observation=observation))
    path = tmp_path / "toy.safetensors"
    write_controller(path, controller)
    again = load_controller(path)
    assert again.card == controller.card
    runs = []
    for own in (controller, again):
        config = dataclasses.replace(WORLD, observation=observation)
        env = TransformedEnv(GrowthEnv(config, n_envs=2, seed=0), own.transforms())
        runs.append(evaluate(env, own.policy, 2, seed=5))
    for first, second in zip(*runs):
        assert first.action.tolist() == second.action.tolist()


@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
def test_any_memory_grows_a_model_and_resumes_exactly(memory: str) -> None:
    space = GrowthSpace(observation="snapshot")

    def make() -> tuple[Grower, SGD]:
        net = make_net()
        optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
        controller = controller_of(memory, space)
        return Grower(net, optimizer, controller, epochs=12, evaluate=lambda m: validate(m)[1], seed=1), optimizer

    grower, optimizer = make()
    for epoch in range(1, 13):
        grower.step(**measure(grower.model, optimizer, epoch))
        if epoch == 6:
            saved = [x.state_dict() for x in (grower, grower.model, optimizer)]
            saved = through_a_file(saved)
    resumed, second = make()
    for target, state in zip((resumed, resumed.model, second), saved):
        target.load_state_dict(state)  # type: ignore[attr-defined]
    for epoch in range(7, 13):
        resumed.step(**measure(resumed.model, second, epoch))
    assert str(resumed.history) == str(grower.history)
    assert any(step.action[0] == 1 for step in grower.steps)


def through_a_file(states: list[Any]) -> list[Any]:
    """Return states as they come back from a file."""
    file = io.BytesIO()
    torch.save(states, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_the_memory_is_carried_from_epoch_to_epoch() -> None:
    # The same rule of chance, the same measurements: only what was remembered differs between lstm steps.
    grower_net = make_net()
    optimizer = SGD(grower_net.parameters(), lr=0.05)
    grower = Grower(grower_net, optimizer, controller_of("lstm", GrowthSpace()), epochs=12)
    states: list[Tensor] = []
    for epoch in range(1, 4):
        grower.step(**measure(grower_net, optimizer, epoch))
        states.append(grower.state_dict()["controller"]["last"]["recurrent_state_h"])
    assert not states[0].any()  # what enters the first choice
    assert states[1].any()
    assert not torch.equal(states[1], states[2])


def test_a_run_folder_loads_at_its_newest_checkpoint(tmp_path: Path) -> None:
    controller = controller_of("lstm", GrowthSpace(), seed=7)
    settings = {"memory": "lstm", "run": {"hidden_size": 16, "encoder_size": 16, "env": dataclasses.asdict(WORLD)}}
    text = json.dumps({"arguments": ["--name", "toy"], "settings": settings}, default=str)
    (tmp_path / "config.json").write_text(text)
    for updates, value in ((1, 0.0), (2, 1.0)):
        state = {name: tensor * value for name, tensor in controller.actor_critic.state_dict().items()}
        path = tmp_path / "checkpoints" / f"checkpoint_{updates:08d}.pt"
        save_checkpoint(path, {"learner": {"actor_critic": state}})
    loaded = load_controller(tmp_path)
    assert loaded.space == controller.space
    assert loaded.card.command == "python recipes/train.py --name toy"
    for name, value in controller.actor_state().items():
        assert torch.equal(loaded.actor_state()[name], value)


def test_what_is_no_controller_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a .safetensors file, or the folder of a run: got 'gru-enormous'"):
        load_controller("gru-enormous")
    foreign, torn, empty = (tmp_path / name for name in ("a.safetensors", "b.safetensors", "run"))
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match="not a tamiyo_trl controller"):
        load_controller(foreign)
    write_controller(torn, controller_of("mlp", GrowthSpace()))
    torn.write_bytes(torn.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="is not a controller"):
        load_controller(torn)
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not of a run"):
        load_controller(empty)


def test_a_file_of_other_sizes_than_its_card_is_refused(tmp_path: Path) -> None:
    controller = controller_of("mlp", GrowthSpace())
    path = tmp_path / "odd.safetensors"
    write_controller(
        path, TrainedController(dataclasses.replace(controller.card, hidden_size=8), controller.actor_critic)
    )
    with pytest.raises(CheckpointError, match=r"should be \[8, 16\], there is \[16, 16\]"):
        load_controller(path)


def test_reading_a_card_gives_back_the_space() -> None:
    space = GrowthSpace(sites=2, blueprints=("wide", "norm"), observation="summary")
    card = Card("x", "gru", 8, 8, space, {"task": "digits"}, "python it", {"torch": "2"}, ("a",), ("b",))
    assert Card.from_json(card.to_json()) == card
