from __future__ import annotations

import pytest
import torch

from tamiyo_trl.objectives.refresh import renew
from tests.objectives.helpers import rollout
from tests.reference.lstm_policy import SlowPolicy


def disturb(actor_critic) -> None:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in actor_critic.policy.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
def test_renewal_under_unchanged_weights_changes_nothing(memory):
    actor_critic, rows = rollout(memory, steps=13)
    renewed = renew(rows, actor_critic.walk, actor_critic.state_keys)
    for key in ("state_value", *actor_critic.state_keys, *(("next", key) for key in actor_critic.state_keys)):
        assert torch.allclose(renewed[key], rows[key], atol=1e-6), key


def test_renewed_states_and_values_are_those_of_a_walk_by_hand_under_the_new_weights():
    actor_critic, rows = rollout("lstm", steps=13)
    disturb(actor_critic)
    before = rows.clone()
    renewed = renew(rows, actor_critic.walk, actor_critic.state_keys)
    slow = SlowPolicy(actor_critic)
    for e in range(rows.shape[0]):
        h, c = rows["recurrent_state_h"][e, 0, 0], rows["recurrent_state_c"][e, 0, 0]
        for t in range(rows.shape[1]):
            if rows["is_init"][e, t]:
                h, c = torch.zeros_like(h), torch.zeros_like(c)
            assert torch.allclose(renewed["recurrent_state_h"][e, t, 0], h, atol=1e-5)
            assert torch.allclose(renewed["recurrent_state_c"][e, t, 0], c, atol=1e-5)
            _, value, h, c = slow.step(rows["observation"][e, t], h, c)
            assert renewed["state_value"][e, t].item() == pytest.approx(value.item(), abs=1e-5)
            assert torch.allclose(renewed["next", "recurrent_state_h"][e, t, 0], h, atol=1e-5)
    assert (renewed["recurrent_state_h"] - rows["recurrent_state_h"]).abs().max() > 1e-2  # they were stale
    assert (rows == before).all()  # the batch itself is left as it was
    assert torch.equal(renewed["action_log_prob"], rows["action_log_prob"])


def test_a_row_starts_from_its_stored_state_and_a_new_episode_from_its_reset():
    actor_critic, rows = rollout("lstm", steps=13)
    disturb(actor_critic)
    renewed = renew(rows, actor_critic.walk, actor_critic.state_keys)
    assert torch.equal(renewed["recurrent_state_h"][:, 0], rows["recurrent_state_h"][:, 0])
    starts = rows["is_init"].squeeze(-1)
    assert starts[:, 1:].any()
    assert renewed["recurrent_state_h"][starts].abs().max() == 0
