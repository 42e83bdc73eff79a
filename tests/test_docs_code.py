"""Every code block of docs/torchrl.md runs, one after the other as in a notebook, and does what its text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tamiyo_trl.objectives.advantages import estimate
from tamiyo_trl.objectives.value_norm import make_value_norm

pytest.importorskip("gymnasium")

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Return what the blocks of the page leave behind."""
    document = ROOT / "docs" / "torchrl.md"
    names: dict[str, Any] = {"__name__": "torchrl_page"}
    for block in BLOCK.findall(document.read_text()):
        exec(compile(block, str(document), "exec"), names)
    return names


def test_stock_gae_in_recurrent_mode_gives_our_advantages(page):
    batch, ac = page["batch"], page["ac"]
    assert batch["is_init"][:, 1:].any()
    fresh = page["make_actor_critic"](page["RecallEnv"](n_envs=8), memory="lstm", hidden_size=32, encoder_size=32)
    ours = estimate(batch, fresh.critic, make_value_norm("none"), gamma=0.99, gae_lambda=0.95)
    assert len(list(ac.parameters())) == len(list(fresh.parameters()))
    torch.testing.assert_close(batch["advantage"], ours.advantage, atol=1e-5, rtol=1e-4)


def test_a_sample_of_the_buffer_is_whole_slices(page):
    numbers = page["slices"]["slice"]
    assert tuple(numbers.shape) == (6, 8)
    assert (numbers == numbers[:, :1]).all()


def test_the_logger_holds_every_update(page):
    (written,) = Path(page["logger"].log_dir).rglob("episode/return.csv")
    assert len(written.read_text().splitlines()) == 2
