"""The profile accounts for all of the time it measured."""

from __future__ import annotations

import json

from tests.recipes.loading import load_recipe

TOY = [
    *("--env.image-size", "8", "--env.episode-steps", "10", "--env.training.images-per-step", "64"),
    *("--env.splits.train", "128", "--env.splits.val", "64", "--env.splits.test", "64", "--env.observation", "minimal"),
]


def test_shares_add_up_and_the_learner_is_left_as_it_was(tmp_path, capsys):
    recipe = load_recipe("profile_speed")
    plain = recipe.PPOLearner.update
    assert recipe.main(["--out", str(tmp_path), "--updates", "1", "--repeats", "1", "--n-envs", "4", *TOY]) == 0
    assert recipe.PPOLearner.update is plain
    measured = json.loads((tmp_path / "results.json").read_text())["measured"]
    assert [item["memory"] for item in measured] == ["lstm", "mlp"]
    for item in measured:
        parts = [item[f"{part}_seconds"] for part in ("host", "policy", "update")]
        assert all(part > 0 for part in parts)
        assert abs(sum(parts) - item["cpu_seconds"]) < 1e-9
        assert (item["frames"], item["episodes"]) == (40, 4)
    page = (tmp_path / "README.md").read_text()
    assert "Training with lstm takes" in page
    assert page.count("| lstm |") == 1
    assert recipe.main(["--out", str(tmp_path), "--updates", "0"]) == 2
    assert "an update" in capsys.readouterr().err
