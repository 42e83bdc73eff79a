from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from tamiyo_trl.errors import SpecError
from tamiyo_trl.objectives.advantages import estimate, next_values, standardise
from tamiyo_trl.objectives.value_norm import IdentityValueNorm, RunningValueNorm
from tests.objectives.helpers import rollout
from tests.reference.gae import slow_gae
from tests.reference.lstm_policy import SlowPolicy

NO_NORM = IdentityValueNorm()


class FixedCritic(torch.nn.Module):
    """V(s) is the observation itself."""

    in_keys = ("observation", "is_init")

    def forward(self, td: TensorDict) -> TensorDict:
        return td.set("state_value", td["observation"])


def row(values: list[float], after: list[float], rewards: list[float], terminated: list[int], truncated: list[int]):
    """Return one row [1, T] whose critic values and next observations are given."""

    def column(numbers: list, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor(numbers, dtype=dtype).reshape(1, -1, 1)

    ends, cuts = column(terminated, torch.bool), column(truncated, torch.bool)
    following = {"observation": column(after), "reward": column(rewards), "terminated": ends, "truncated": cuts}
    return TensorDict({"state_value": column(values), "next": following | {"done": ends | cuts}}, [1, len(values)])


def test_advantages_of_three_steps_worked_by_hand():
    rows = row([1.0, 2.0, 3.0], [9.0, 9.0, 4.0], [1.0, 0.0, 2.0], [0, 0, 0], [0, 0, 0])
    found = estimate(rows, FixedCritic(), NO_NORM, gamma=0.5, gae_lambda=0.5)
    # next values: 2 and 3 are the following steps' own, 4 is the critic's at the row's end
    # deltas: 1 + 0.5*2 - 1 = 1; 0 + 0.5*3 - 2 = -0.5; 2 + 0.5*4 - 3 = 1
    # A3 = 1; A2 = -0.5 + 0.25*1 = -0.25; A1 = 1 + 0.25*(-0.25) = 0.9375
    assert found.advantage.flatten().tolist() == [0.9375, -0.25, 1.0]
    assert found.target.flatten().tolist() == [1.9375, 1.75, 4.0]


def test_a_terminated_episode_is_worth_nothing_afterwards_and_a_truncated_one_what_the_critic_says():
    over = row([1.0, 2.0], [9.0, 4.0], [1.0, 1.0], [1, 0], [0, 0])
    cut = row([1.0, 2.0], [9.0, 4.0], [1.0, 1.0], [0, 0], [1, 0])
    both = row([1.0, 2.0], [9.0, 4.0], [1.0, 1.0], [1, 0], [1, 0])
    assert next_values(over, FixedCritic()).flatten().tolist() == [0.0, 4.0]
    assert next_values(cut, FixedCritic()).flatten().tolist() == [9.0, 4.0]  # not 2: that is the next episode's
    assert next_values(both, FixedCritic()).flatten().tolist() == [0.0, 4.0]


@given(
    steps=st.lists(
        st.tuples(*[st.floats(-5, 5, width=32)] * 3, st.sampled_from(["", "", "over", "cut", "both"])),
        min_size=1,
        max_size=12,
    ),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_advantages_equal_the_slow_sum_over_the_definition(steps, gamma, gae_lambda):
    values, after, rewards, ends = (list(column) for column in zip(*steps))
    terminated, truncated = [e in ("over", "both") for e in ends], [e in ("cut", "both") for e in ends]
    rows = row(values, after, rewards, terminated, truncated)
    found = estimate(rows, FixedCritic(), NO_NORM, gamma=gamma, gae_lambda=gae_lambda)
    done = [a or b for a, b in zip(terminated, truncated)]
    last = len(values) - 1
    following = [after[t] if done[t] or t == last else values[t + 1] for t in range(len(values))]
    advantage, target = slow_gae(values, following, rewards, done, terminated, gamma, gae_lambda)
    assert torch.allclose(found.advantage.flatten(), torch.tensor(advantage), atol=1e-4)
    assert torch.allclose(found.target.flatten(), torch.tensor(target), atol=1e-4)


def test_next_values_are_the_critic_s_at_the_un_reset_next_hidden_state_of_every_step():
    actor_critic, rows = rollout("lstm", steps=17)
    found = next_values(rows, actor_critic.critic)
    slow, after = SlowPolicy(actor_critic), rows["next"]
    cuts = 0
    for e, t in torch.cartesian_prod(torch.arange(rows.shape[0]), torch.arange(rows.shape[1])).tolist():
        h, c = after["recurrent_state_h"][e, t, 0], after["recurrent_state_c"][e, t, 0]
        expected = 0.0 if after["terminated"][e, t] else slow.step(after["observation"][e, t], h, c)[1].item()
        assert found[e, t].item() == pytest.approx(expected, abs=1e-5)
        cuts += int(after["truncated"][e, t] & ~after["terminated"][e, t])
    assert cuts > 3  # the case that matters is there


@pytest.mark.parametrize("memory", ["gru", "mlp", "frames"])
def test_next_values_of_every_memory_are_single_steps_of_its_critic(memory):
    actor_critic, rows = rollout(memory, steps=17)
    single = rows["next"].select(*actor_critic.bootstrap_keys).reshape(-1)
    single["is_init"] = torch.zeros(len(single), 1, dtype=torch.bool)
    expected = actor_critic.critic(single)["state_value"].detach().reshape(*rows.shape, 1)
    expected = expected.masked_fill(rows["next", "terminated"], 0)
    assert torch.allclose(next_values(rows, actor_critic.critic), expected, atol=1e-6)


@pytest.mark.parametrize("memory", ["lstm", "gru"])
def test_next_states_that_are_not_stored_are_recomputed(memory):
    actor_critic, rows = rollout(memory, steps=17)
    lean = rows.exclude(*(("next", key) for key in actor_critic.state_keys))
    expected = next_values(rows, actor_critic.critic)
    assert torch.allclose(next_values(lean, actor_critic.critic), expected, atol=1e-6)
    changed = rows.clone()
    for key in actor_critic.state_keys:
        changed["next", key] += 1.0
    assert not torch.allclose(next_values(changed, actor_critic.critic), expected, atol=1e-3)  # stored ones are read


def test_a_batch_without_next_observations_is_refused_by_name():
    actor_critic, rows = rollout()
    with pytest.raises(SpecError, match=r"\['observation'\].*next"):
        next_values(rows.exclude(("next", "observation")), actor_critic.critic)


def test_estimates_are_in_units_of_the_reward_whatever_the_critic_s_units():
    norm = RunningValueNorm()
    norm.update(torch.tensor([[[4.0], [8.0]]]))  # mean 6, deviation 2
    raw = row([4.0, 8.0], [0.0, 10.0], [1.0, 1.0], [0, 0], [0, 0])
    scaled = row([-1.0, 1.0], [0.0, 2.0], [1.0, 1.0], [0, 0], [0, 0])  # (x - 6) / 2
    for one, two in zip(
        vars(estimate(raw, FixedCritic(), NO_NORM, gamma=0.9, gae_lambda=0.8)).values(),
        vars(estimate(scaled, FixedCritic(), norm, gamma=0.9, gae_lambda=0.8)).values(),
    ):
        assert torch.allclose(one, two, atol=1e-4)


def test_standardised_advantages_have_mean_zero_and_deviation_one_over_the_whole_batch():
    x = standardise(torch.randn(5, 7, 1) * 3 + 2, 1e-4)
    assert x.mean().item() == pytest.approx(0, abs=1e-6)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_equal_advantages_become_zeros_and_tiny_ones_stay_tiny():
    assert standardise(torch.full((3, 4, 1), 0.7), 1e-4).abs().max() < 1e-2
    assert standardise(torch.tensor([1e-6, -1e-6]), 1e-2).abs().max().item() == pytest.approx(1e-4)
