"""Batches whose steps do not follow each other, or whose actions their masks forbid, are refused by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import IllegalActionError, SpecError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tests.objectives.helpers import rollout

LEARN = PPOConfig(slice_len=4, minibatches=1, epochs=1)
LAYOUTS = {
    "workers one after another": lambda rows: torch.cat([rows[:2], rows[2:]], 1),
    "one long row": lambda rows: rows.reshape(1, -1),
    "time first": lambda rows: rows.transpose(0, 1).contiguous(),
    "shuffled": lambda rows: rows[:, torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(0))],
    "backwards": lambda rows: rows.flip(1),
    "every other step": lambda rows: rows[:, ::2],
}


def unnamed(rows):
    rows = rows.clone()
    rows.names = [None] * rows.ndim
    return rows


@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_steps_that_do_not_follow_are_refused_for_every_memory(memory, layout):
    actor_critic, rows = rollout(memory, steps=10)
    with pytest.raises(SpecError, match=r"row \d+, step \d+: .*in the order of time"):
        PPOLearner(actor_critic, LEARN).update(LAYOUTS[layout](unnamed(rows)))


@pytest.mark.parametrize("memory", ["lstm", "mlp"])
def test_rows_in_order_are_learned_from_in_any_batch_layout_and_with_a_graph(memory):
    for layout in (
        lambda rows: rows,
        lambda rows: rows[0],
        lambda rows: rows.reshape(2, 2, -1),
        lambda rows: rows[:, 3:9],
    ):
        actor_critic, rows = rollout(memory, steps=10)
        batch = layout(unnamed(rows))
        batch["state_value"] = batch["state_value"].clone().requires_grad_()
        metrics = PPOLearner(actor_critic, LEARN).update(batch)
        assert metrics["ppo/ratio_error_first"] < 1e-4


@given(row=st.integers(0, 3), step=st.integers(0, 9))
def test_a_stored_action_that_its_mask_forbids_is_an_error_whatever_the_ratio(row, step):
    actor_critic, rows = rollout("mlp", steps=10)
    mask = rows["action_mask"].clone()
    action = tuple(rows["action"][row, step].tolist())
    other = ~mask[row, step]
    mask[(row, step, *action)] = False
    if not mask[row, step].any():
        mask[row, step] = other
    rows["action_mask"] = mask
    if "action_mask" in rows["next"].keys():
        rows["next"] = rows["next"].exclude("action_mask")
    with pytest.raises(IllegalActionError, match=f"row {row}, step {step}: the stored action"):
        PPOLearner(actor_critic, LEARN).update(rows)
