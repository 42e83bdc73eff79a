"""The Grower in an ordinary training loop: lives, optimisers, schedulers, counterfactuals, resume."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tamiyo_trl.envs import LifecycleConfig
from tamiyo_trl.grow import Grower, GrowthSite, GrowthSpace
from tamiyo_trl.policies import FixedSchedule, Heuristic, NeverGrow, RandomLegal
from tamiyo_trl.policies.baselines import Planting
from tamiyo_trl.seeds import TRANSITIONS, Stage
from tests.grow.nets import Net, batch, make_net, measure, validate

SPACE, EPOCHS = GrowthSpace(), 12
SNAPSHOT = GrowthSpace(observation="snapshot")


def script(plan: Mapping[int, tuple[int, int, int]], space: GrowthSpace = SPACE) -> Callable[..., tuple[int, int, int]]:
    """Return a rule that acts after the given epochs and else waits."""

    def rule(seen: Mapping[str, float], legal: Tensor) -> tuple[int, int, int]:
        return plan.get(round(seen["time"] * EPOCHS), (0, 0, 0))

    return rule


CONV = SPACE.blueprints.index("conv_light")
LIFE = {1: (1, 1, CONV), 8: (2, 1, 0)}  # planted after epoch 1, kept after epoch 8


def grow(
    grower: Grower, optimizer: Optimizer, start: int = 1, stop: int = EPOCHS, after: Callable[[], object] | None = None
) -> None:
    for epoch in range(start, stop + 1):
        grower.step(**measure(grower.model, optimizer, epoch))
        if after:
            after()


def grower_of(net: Net, optimizer: Optimizer, controller: Any, **settings: Any) -> Grower:
    return Grower(net, optimizer, controller, epochs=EPOCHS, **settings)


def test_a_life_goes_through_the_one_life_cycle_and_ends_as_a_plain_module() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    grower = grower_of(net, optimizer, script(LIFE))
    grow(grower, optimizer)
    stages = [step.stages[1] for step in grower.steps]
    t, b, h, f = Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED
    # Planted after epoch 1: 2 epochs in the incubator, 3 of blending (alpha 1/3, 2/3, 1), then holding until kept.
    assert stages == [t, t, b, b, b, h, h, f, f, f, f, f]
    assert [round(step.alphas[1], 3) for step in grower.steps][:6] == [0.0, 0.0, 0.333, 0.667, 1.0, 1.0]
    for old, new in zip(stages, stages[1:]):
        assert old == new or new in TRANSITIONS[old]
    images, _ = batch(5)
    before = net.eval()(images)
    finished = grower.finish()
    assert finished is net
    assert not any(isinstance(module, GrowthSite) for module in net.modules())
    assert isinstance(net.site0, nn.Identity)
    torch.testing.assert_close(net(images), before, rtol=0, atol=0)
    assert grower.finish() is net


def test_finish_removes_what_was_not_decided_on() -> None:
    net = make_net()
    before = set(dict(net.named_parameters()))
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    grower = grower_of(net, optimizer, script({9: (1, 0, CONV)}))
    grow(grower, optimizer)
    assert isinstance(net.site0.seed, nn.Module)
    grower.finish()
    assert set(dict(net.named_parameters())) == before
    assert [len(group["params"]) for group in optimizer.param_groups] == [len(before)]
    assert len(optimizer.state) == len(before)


def test_never_growing_leaves_the_training_as_it_is_without_a_grower() -> None:
    bare, watched = make_net(), make_net()
    optimizers = [SGD(net.parameters(), lr=0.05, momentum=0.9) for net in (bare, watched)]
    grower = grower_of(watched, optimizers[1], NeverGrow())
    for epoch in range(1, EPOCHS + 1):
        told = [measure(net, optimizer, epoch) for net, optimizer in zip((bare, watched), optimizers)]
        assert told[0] == told[1]
        grower.step(**told[1])
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), watched.parameters()))


OPTIMIZERS = {
    "Adadelta": {}, "Adafactor": {}, "Adagrad": {}, "Adam": {}, "AdamW": {}, "Adamax": {}, "ASGD": {}, "NAdam": {},
    "RAdam": {}, "RMSprop": {}, "Rprop": {}, "SGD": {"momentum": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_seeds_join_and_leave_any_optimiser_and_touch_no_other_state(name: str) -> None:
    net = make_net()
    host = list(net.parameters())
    groups = [{"params": host[:4]}, {"params": host[4:], "lr": 0.003}]
    optimizer: Optimizer = getattr(torch.optim, name)(groups, lr=0.01, **OPTIMIZERS[name])
    grower = grower_of(net, optimizer, script({2: (1, 1, CONV), 5: (3, 1, 0)}), seed_group=1)
    grow(grower, optimizer, stop=1)

    def state() -> list[dict[str, Any]]:
        return [copy.deepcopy(optimizer.state[p]) for p in host]

    told = measure(net, optimizer, 2)
    kept = state()
    grower.step(**told)
    seed = list(net.site1.seed.parameters())  # type: ignore[union-attr]
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, len(host) - 4 + len(seed)]
    first = [p.detach().clone() for p in seed]
    grow(grower, optimizer, 3, 4)
    assert any(not torch.equal(p, old) for p, old in zip(seed, first))
    told, before = measure(net, optimizer, 5), state()
    grower.step(**told)
    for mine, saved in zip(state(), before):
        assert all(torch.equal(torch.as_tensor(mine[key]), torch.as_tensor(saved[key])) for key in saved)
    assert net.site1.seed is None
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, len(host) - 4]
    assert not any(p in optimizer.state for p in seed)
    assert len(kept) == len(host)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=EPOCHS + 1),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
            milestones=[3],
        ),
    ],
    ids=["cosine", "lambda", "step", "one cycle", "sequential"],
)
def test_schedulers_go_on_and_seeds_learn_at_the_scheduled_rate(make: Callable[[Optimizer], Any]) -> None:
    plain, net = make_net(), make_net()
    optimizers = [SGD(n.parameters(), lr=0.05, momentum=0.9) for n in (plain, net)]
    schedulers = [make(optimizer) for optimizer in optimizers]
    grower = grower_of(net, optimizers[1], script(LIFE))
    for epoch in range(1, EPOCHS + 1):
        measure(plain, optimizers[0], epoch)
        grower.step(**measure(net, optimizers[1], epoch))
        for scheduler in schedulers:
            scheduler.step()
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        assert rates[0] == rates[1]


def test_evaluate_measures_what_the_seed_contributes_and_leaves_modes_alone() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    seen: list[tuple[bool, float]] = []

    def evaluate(model: nn.Module) -> float:
        accuracy = validate(model)[1]
        seen.append((net.site1._switched, accuracy))
        return accuracy

    grower = grower_of(net, optimizer, script(LIFE), space=SNAPSHOT, evaluate=evaluate)
    for epoch in range(1, EPOCHS + 1):
        told = measure(net, optimizer, epoch)
        net.train()
        net.norm.eval()
        step = grower.step(**told)
        assert net.training
        assert not net.norm.training
        incubating, live = epoch in (2, 3), 2 <= epoch <= 8
        if not live:
            assert step.measured.contribution is None
            continue
        switched, other = seen[-1]
        assert switched
        expected = other - told["val_accuracy"] if incubating else told["val_accuracy"] - other
        assert step.measured.contribution == pytest.approx(expected)
    assert len(seen) == 7


def test_gradient_norms_are_those_of_the_optimisers_steps() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = grower_of(net, optimizer, script(LIFE), space=SNAPSHOT, evaluate=lambda m: validate(m)[1])
    host = list(net.parameters())
    norms: list[tuple[float, float]] = []

    def norm(parameters: list[nn.Parameter]) -> float:
        return math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))

    optimizer.register_step_pre_hook(
        lambda *_: norms.append((norm(host), norm(list(net.site1.seed.parameters()) if net.site1.seed else [])))
    )
    for epoch in range(1, 4):
        norms.clear()
        step = grower.step(**measure(net, optimizer, epoch))
        means = [sum(column) / len(norms) for column in zip(*norms)]
        assert step.measured.host_grad_norm == pytest.approx(means[0], rel=1e-5)
        assert step.measured.seed_grad_norm == pytest.approx(means[1], rel=1e-5)
    assert means[1] > 0


@pytest.mark.parametrize("kind", ["heuristic", "random", "fixed", "rule"])
def test_a_resumed_training_goes_on_exactly(kind: str) -> None:
    def make() -> tuple[Net, Optimizer, Grower]:
        controllers = {
            "heuristic": Heuristic(SNAPSHOT),
            "random": RandomLegal(3),
            "fixed": FixedSchedule(SNAPSHOT, EPOCHS, [Planting(2, 1, CONV), Planting(3, 2, 0)]),
            "rule": script(LIFE),
        }
        net = make_net()
        optimizer = AdamW(net.parameters(), lr=0.003)
        made = grower_of(net, optimizer, controllers[kind], space=SNAPSHOT, evaluate=lambda m: validate(m)[1], seed=4)
        return net, optimizer, made

    net, optimizer, grower = make()
    grow(grower, optimizer, stop=5)
    file = io.BytesIO()
    torch.save((grower.state_dict(), net.state_dict(), optimizer.state_dict()), file)
    grow(grower, optimizer, 6)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, second, resumed = make()
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    second.load_state_dict(saved[2])
    grow(resumed, second, 6)
    assert [step.action for step in resumed.steps] == [step.action for step in grower.steps]
    assert str(resumed.history) == str(grower.history)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters()))


def test_a_feature_site_takes_what_there_is_for_features_alone() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    masks: list[Tensor] = []
    grower = grower_of(net, optimizer, lambda seen, legal: masks.append(legal) or (0, 0, 0))
    grow(grower, optimizer, stop=1)
    legal = {name for name, allowed in zip(SPACE.blueprints, masks[0][1, 2].tolist()) if allowed}
    assert legal == {"norm", "attention", "wide"}
    assert masks[0][1, :2].all()


def test_the_log_tells_an_epoch_in_a_line_and_the_table_in_a_row(tmp_path: Any) -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = grower_of(net, optimizer, script(LIFE))
    grow(grower, optimizer)
    lines = [str(step) for step in grower.steps]
    assert all("\n" not in line for line in lines)
    assert "GERMINATE conv_light at site1" in lines[0]
    assert "conv_light blending 0.67" in lines[3]
    assert [row["epoch"] for row in grower.history] == list(range(1, EPOCHS + 1))
    assert grower.history[7]["action"] == "FOSSILIZE at site1"
    grower.plot(tmp_path / "life.png", "A life")
    assert (tmp_path / "life.png").stat().st_size > 10_000


def test_a_compiled_model_grows_and_is_compiled_anew_only_when_its_form_changes() -> None:
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        compiled.append(len(compiled))
        return graph.forward

    torch._dynamo.reset()
    net, plain = make_net(), make_net()
    optimizers = [SGD(n.parameters(), lr=0.05) for n in (net, plain)]
    fast = torch.compile(net, backend=backend)
    growers = [grower_of(n, o, script(LIFE)) for n, o in zip((net, plain), optimizers)]
    counts = []
    for epoch in range(1, EPOCHS + 1):
        told = measure(fast, optimizers[0], epoch)
        growers[0].step(**told)
        expected = measure(plain, optimizers[1], epoch)
        growers[1].step(**expected)
        assert told == pytest.approx(expected, rel=1e-4)
        counts.append(len(compiled))
    # Train and eval form: bare (epoch 1), incubating (2), blending (4); alpha moves at 5 and 6 and costs nothing.
    assert counts[0] < counts[1] < counts[3] == counts[4] == counts[5]
    torch._dynamo.reset()


def test_its_lifecycle_is_the_spaces() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    rules = LifecycleConfig(train_steps=1, blend_steps=1, hold_steps=0)
    grower = grower_of(net, optimizer, script({1: (1, 0, 0), 3: (2, 0, 0)}), space=GrowthSpace(lifecycle=rules))
    grow(grower, optimizer, stop=3)
    assert [step.stages[0] for step in grower.steps] == [Stage.TRAINING, Stage.BLENDING, Stage.FOSSILIZED]


def test_begin_lets_the_controller_choose_before_the_first_epoch() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = grower_of(net, optimizer, script({0: (1, 1, CONV)}))
    loss, accuracy = validate(net)
    assert grower.begin(val_loss=loss, val_accuracy=accuracy).stages[1] == Stage.TRAINING
    grow(grower, optimizer, stop=2)
    assert [step.epoch for step in grower.steps] == [0, 1, 2]
    assert grower.steps[-1].stages[1] == Stage.BLENDING
