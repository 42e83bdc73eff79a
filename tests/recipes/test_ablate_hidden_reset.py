"""The ablation recipe: paired changes of trained controllers, kept file by file."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tamiyo_trl.studies.budgets import BUDGETS, run_of
from tamiyo_trl.studies.run import train_run
from tests.recipes.loading import load_recipe

ARM = "lstm-minimal"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load_recipe("ablate_hidden_reset")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A work folder with one trained LSTM and one trained MLP."""
    folder = tmp_path_factory.mktemp("work")
    for arm in (ARM, "mlp-minimal"):
        name = f"{arm}/seed_0"
        train_run(run_of(BUDGETS["smoke"], arm, 0, folder / "results" / name, folder / name, ""))
    return folder


def arguments(work: Path, results: Path, *more: str) -> list[str]:
    short = ["--reset-at", "3", "--reset-every", "2", "--swap-at", "5", "--hosts", "8", "--seeds", "2"]
    return ["--budget", "smoke", "--arms", ARM, "--work", str(work), "--results", str(results), *short, *more]


def test_every_disturbance_is_measured_once_and_paired_by_host(recipe, work, tmp_path, monkeypatch):
    assert recipe.main(arguments(work, tmp_path)) == 0
    folder = tmp_path / ARM / "seed_0"
    files = {path.name for path in folder.iterdir()}
    assert files == {"untouched.json", "reset-at-3.json", "reset-every-2.json", "swapped-at-5.json"}
    untouched, reset = (json.loads((folder / name).read_text()) for name in ("untouched.json", "reset-at-3.json"))
    assert untouched.keys() == reset.keys()
    change = 100 * np.mean([reset[host] - untouched[host] for host in untouched])
    page = (tmp_path / "README.md").read_text()
    assert f"| reset at 3 | {change:+.1f} " in page
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(recipe, "accuracies", lambda *_: pytest.fail("it was measured already"))
    assert recipe.main(arguments(work, tmp_path)) == 0


def test_what_cannot_be_disturbed_is_refused_by_name(recipe, work, tmp_path, capsys):
    for more, message in (
        (("--arms", "mlp-minimal"), "mlp has no hidden state"),
        (("--arms", "gru-minimal"), "no finished training of gru-minimal"),
        (("--hosts", "3"), "hosts a multiple of 8"),
        (("--reset-at", "0"), "one reset"),
    ):
        target = tmp_path / more[1]
        if more[0] == "--arms":
            command = [word if word != ARM else more[1] for word in arguments(work, target)]
        else:
            command = arguments(work, target, *more)
        assert recipe.main(command) == 2
        assert message in capsys.readouterr().err
