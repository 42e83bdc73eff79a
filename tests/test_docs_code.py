"""Every code block of docs/torchrl.md runs, one after the other as in a notebook, and does what its text says."""

from __future__ import annotations

import re
import subprocess
import sys
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


@pytest.mark.slow
def test_workers_of_wrapped_makers_collect_whole_rows_with_states(tmp_path):
    """As a script, because workers import the module that their makers come from."""
    blocks = BLOCK.findall((ROOT / "docs" / "torchrl.md").read_text())
    (makers,) = (block for block in blocks if "growth_env_makers" in block)
    script = tmp_path / "workers.py"
    script.write_text(
        "from torchrl.envs import TransformedEnv\nfrom tamiyo_trl.policies import make_actor_critic\n"
        "from tamiyo_trl.envs import GrowthEnv\n"
        + makers
        + """
if __name__ == "__main__":
    config = GrowthConfig(image_size=8, episode_steps=6)
    ac = make_actor_critic(GrowthEnv(config, n_envs=1), hidden_size=8, encoder_size=8)
    collector = collect_in_two_processes(config, ac, n_envs=2)
    batch = next(iter(collector))
    ac.check_batch(batch)
    print(batch.numel())
    collector.shutdown()
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == "12"
