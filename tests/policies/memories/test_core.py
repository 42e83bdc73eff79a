"""Memories: steps equal rows, rows equal a plain twin and TorchRL's own modules, gradients equal finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import nn
from torchrl.modules import GRUModule, LSTMModule, set_recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.policies import GRU, LSTM, Feedforward, Frames
from tamiyo_trl.policies.memories.core import MemoryCore, MemoryModule
from tamiyo_trl.policies.memories.gru_rows import gru_rows
from tamiyo_trl.policies.memories.kinds import resolve
from tamiyo_trl.policies.memories.lstm_rows import lstm_rows
from tests.reference import memory as plain

RECIPES = [LSTM(), GRU(), LSTM(num_layers=2), GRU(num_layers=3), LSTM(layer_norm=True), GRU(layer_norm=True)]
F, H = 4, 5


def random_rows(
    core: MemoryCore, B: int, L: int, p: float, seed: int
) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Inputs, stored states (zeros where an episode starts) and starts of rows, in double precision."""
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(B, L, F, generator=gen, dtype=torch.float64)
    is_init = torch.rand(B, L, generator=gen) < p
    states = [torch.randn(B, L, *s, generator=gen, dtype=torch.float64) for s in core.state_shapes.values()]
    return x, [state.masked_fill(is_init[..., None, None], 0.0) for state in states], is_init


def build(recipe: LSTM | GRU, seed: int = 0) -> MemoryCore:
    torch.manual_seed(seed)
    core = recipe.build(F, H).double()
    for parameter in core.parameters():
        nn.init.normal_(parameter, std=0.7)  # biases too, so that no term can hide
    return core


@pytest.mark.parametrize("recipe", RECIPES)
@given(B=st.integers(1, 4), L=st.integers(1, 7), p=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 999))
def test_rows_equal_the_plain_twin(recipe: LSTM | GRU, B: int, L: int, p: float, seed: int) -> None:
    core = build(recipe, seed)
    x, states, is_init = random_rows(core, B, L, p, seed)
    expected = core.norm(plain.run_rows(core.rnn, x, states, is_init))
    torch.testing.assert_close(core.run(x, states, is_init), expected)
    torch.testing.assert_close(MemoryCore.run(core, x, states, is_init), expected)


@pytest.mark.parametrize("recipe", [LSTM(learned_start=True, num_layers=2), GRU(learned_start=True)])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_a_learned_start_stands_in_for_stored_zeros_and_is_learned(recipe: LSTM | GRU, p: float) -> None:
    core = build(recipe)
    x, states, is_init = random_rows(core, 4, 6, p, 1)
    for state in states:
        state[0, 0] = 0.0  # a row that begins with an episode
    start = list(core.start.values)
    expected = plain.run_rows(core.rnn, x, states, is_init, start)
    got = core.run(x, states, is_init)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(MemoryCore.run(core, x, states, is_init), expected)
    weight = torch.randn_like(got)
    by_core = torch.autograd.grad((got * weight).sum(), list(core.parameters()))
    by_twin = torch.autograd.grad((expected * weight).sum(), list(core.parameters()))
    torch.testing.assert_close(by_core, by_twin)
    assert all(gradient.any() for gradient in by_core)


@pytest.mark.parametrize("recipe", RECIPES)
def test_gradients_through_inner_starts_equal_the_plain_twin(recipe: LSTM | GRU) -> None:
    core = build(recipe)
    x, states, is_init = random_rows(core, 3, 6, 0.4, 2)
    x.requires_grad_()
    weight = torch.randn(3, 6, H, dtype=torch.float64)
    wanted = [x, *core.parameters()]
    by_core = torch.autograd.grad((core.run(x, states, is_init) * weight).sum(), wanted)
    twin = core.norm(plain.run_rows(core.rnn, x, states, is_init))
    torch.testing.assert_close(by_core, torch.autograd.grad((twin * weight).sum(), wanted))


@pytest.mark.parametrize("gates", [3, 4])
def test_hand_written_backward_equals_finite_differences(gates: int) -> None:
    torch.manual_seed(0)
    L, B, h = 5, 3, 2
    cut = torch.rand(L, B) < 0.4
    shapes = [(L, B, F), *[(L, B, h)] * (gates - 2), (gates * h, F), (gates * h, h), (gates * h,), (gates * h,)]
    values = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def rows(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if gates == 4:
            return lstm_rows(x, rest[0], rest[1], cut, list(rest[2:]))
        return gru_rows(x, rest[0], cut, list(rest[1:]))

    assert torch.autograd.gradcheck(rows, values)


def test_no_gradient_crosses_the_start_of_an_episode() -> None:
    core = build(LSTM())
    x, states, _ = random_rows(core, 2, 6, 0.0, 3)
    is_init = torch.zeros(2, 6, dtype=torch.bool)
    is_init[0, 3] = True
    x.requires_grad_()
    core.run(x, states, is_init)[:, 3:].sum().backward()
    assert x.grad is not None
    assert not x.grad[0, :3].any()
    assert x.grad[1, :3].all()


@pytest.mark.parametrize(("recipe", "module"), [(LSTM(num_layers=2), LSTMModule), (GRU(num_layers=2), GRUModule)])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_rows_and_steps_equal_torchrl(recipe: LSTM | GRU, module: type, p: float) -> None:
    core = build(recipe)
    x, states, is_init = random_rows(core, 5, 9, p, 4)
    names = list(core.state_shapes)
    kind = {"lstm" if module is LSTMModule else "gru": core.rnn}
    theirs = module(in_keys=["x", *names], out_keys=["y", *(("next", name) for name in names)], **kind)
    ours = MemoryModule(core, "x", "y")
    data = TensorDict({"x": x, keys.IS_INIT: is_init.unsqueeze(-1), **dict(zip(names, states))}, [5, 9])
    with set_recurrent_mode(True):
        torch.testing.assert_close(ours(data.clone())["y"], theirs(data.clone())["y"])
    step = data[:, 0]
    mine, other = ours(step.clone()), theirs(step.clone())
    torch.testing.assert_close(mine["y"], other["y"])
    for name in names:
        torch.testing.assert_close(mine["next", name], other["next", name])


@pytest.mark.parametrize("recipe", [*RECIPES, LSTM(learned_start=True)])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_carried_steps_equal_one_run_over_the_row(recipe: LSTM | GRU, batch: tuple[int, ...]) -> None:
    module = MemoryModule(build(recipe), "x", "y", prefix="own_")
    T = 7
    x, is_init = torch.randn(*batch, T, F, dtype=torch.float64), torch.rand(*batch, T, 1) < 0.3
    is_init[..., 0, :] = True
    zeros = {
        key: torch.zeros(*batch, 1, *s, dtype=torch.float64)
        for key, s in zip(module.state_keys, module.core.state_shapes.values())
    }
    carried = {key: zero.squeeze(len(batch)) for key, zero in zeros.items()}
    steps = []
    for t in range(T):
        step = TensorDict({"x": x[..., t, :], keys.IS_INIT: is_init[..., t, :], **carried}, batch)
        wide = is_init[..., t, :].unsqueeze(-1)
        stored = {key: torch.where(wide, 0.0, value) for key, value in carried.items()}  # what the primer stores
        steps.append(module(step).update(stored))
        carried = {key: step["next", key] for key in module.state_keys}
    rows = torch.stack([step.select("x", keys.IS_INIT, *module.state_keys) for step in steps], len(batch))
    with set_recurrent_mode(True):
        together = module(rows.clone())["y"]
    torch.testing.assert_close(together, torch.stack([step["y"] for step in steps], len(batch)))
    with set_recurrent_mode(True):  # from the middle, starting at the stored states
        torch.testing.assert_close(module(rows[..., 3:].clone())["y"], together[..., 3:, :])


class Leaky(MemoryCore):
    """A user's memory: a decaying sum of inputs, of which only one step is written."""

    def __init__(self, features: int) -> None:
        super().__init__(features, {"trace": (features,)})

    def step(self, x: torch.Tensor, states: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        trace = 0.5 * states[0] + x
        return trace, [trace]


def test_a_memory_of_ones_own_needs_only_its_step() -> None:
    module = MemoryModule(Leaky(1), "x", "y")
    assert module.state_keys == ("trace",)
    x = torch.tensor([[[1.0], [1.0], [1.0], [1.0]]])
    is_init = torch.tensor([[[False], [False], [True], [False]]])
    stored = torch.zeros(1, 4, 1)
    stored[0, 0] = 4.0
    data = TensorDict({"x": x, "trace": stored, keys.IS_INIT: is_init}, [1, 4])
    with set_recurrent_mode(True):
        # 0.5 * 4 + 1 = 3; 0.5 * 3 + 1 = 2.5; start: 1; 0.5 * 1 + 1 = 1.5
        assert module(data)["y"].flatten().tolist() == [3.0, 2.5, 1.0, 1.5]


def test_a_missing_state_is_refused_rather_than_forgotten() -> None:
    module = MemoryModule(build(LSTM()), "x", "y")
    step = TensorDict({"x": torch.randn(3, F, dtype=torch.float64), keys.IS_INIT: torch.ones(3, 1) > 0}, [3])
    with pytest.raises(SpecError, match=keys.HIDDEN_H):
        module(step)


def test_lstm_starts_with_forget_bias_one_and_orthogonal_gates() -> None:
    torch.manual_seed(0)
    rnn = LSTM(num_layers=2).build(8, 6).rnn
    for w_ih, w_hh, b_ih, b_hh in rnn.all_weights:
        assert (b_ih + b_hh).tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12
        for gate in (*w_hh.split(6), *w_ih.split(6)):
            torch.testing.assert_close(gate @ gate.T, torch.eye(6))


def test_memories_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'transformer'.*'lstm', 'gru', 'mlp', 'frames'"):
        resolve("transformer")
    with pytest.raises(ConfigError, match="is not a Memory"):
        resolve(nn.LSTM(3, 4))  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigError, match="is not a Memory"):
        resolve(LSTM)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigError, match="num_layers"):
        GRU(num_layers=0)
    with pytest.raises(ConfigError, match="at least 2 frames"):
        Frames(frames=1)
    assert resolve("frames").window == 4
    assert resolve(Feedforward()).window == 1
