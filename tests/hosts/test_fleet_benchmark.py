"""The fleet's benchmark runs, and counts what it says it counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.fleet_cases import flops, module
from tamiyo_trl.hosts import HostConfig

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_it_runs_and_writes_what_it_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "fleet.py"), "--quick", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    results = json.loads((tmp_path / "fleet.json").read_text())
    for table in (t for name in ("engines", "seeds", "evaluation", "episodes") for t in results[name]):
        assert all(len(times) == 1 and times[0] > 0 for times in table["seconds"].values())
    text = (tmp_path / "fleet.md").read_text()
    assert "loop of modules, NCHW" in text
    assert "--quick" in text
    assert (tmp_path / "fleet.png").stat().st_size > 1000
    subprocess.run([*command, "--parts", "evaluation"], check=True, capture_output=True)
    again = json.loads((tmp_path / "fleet.json").read_text())
    assert again["evaluation"] != results["evaluation"]
    assert again["engines"] == results["engines"]
    assert "--parts evaluation" in (tmp_path / "fleet.md").read_text()


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "fleet.py"), "--out", str(tmp_path), "--parts", "tea"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert "parts must be of engines" in found.stderr


def test_operations_are_counted_by_hand() -> None:
    # 16x16 tiny host, 2 per multiply-add: convolutions 2 * 9 * (3*8*256, 8*16*64, 16*32*16) = 110,592, 147,456, 147,456
    # forward; the first costs twice its forward, the others three times; head 3 * 2 * 320.
    assert flops(HostConfig()) == 2 * 110_592 + 3 * (147_456 + 147_456) + 1_920


def test_the_module_loop_trains_the_same_host() -> None:
    assert sum(p.numel() for p in module(HostConfig()).parameters()) == HostConfig().parameters
    assert module(HostConfig(image_size=8, downsample=("stride", "pool", "none")))(torch.randn(2, 3, 8, 8)).shape == (
        2,
        10,
    )
