"""The documentation site builds without a warning, and its API pages hold what the docstrings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def test_the_site_builds_strictly_and_documents_the_public_names(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for page, name in (("policies", "make_actor_critic"), ("objectives", "check_ratio"), ("envs", "GrowthEnv")):
        assert f'id="tamiyo_trl.{page}.{name}"' in (tmp_path / "api" / page / "index.html").read_text()
