"""The text tables say what the code does: to a person at the terminal, and to the reader of docs/worlds.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.data.tasks import TASKS
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.deficits import MIXED
from tamiyo_trl.envs.growth.features import SOURCES
from tamiyo_trl.envs.growth.observations import OBSERVATIONS, feature_names, feature_set
from tamiyo_trl.envs.growth.rewards import REWARDS
from tamiyo_trl.envs.growth.situation import TABLES, legal_actions, observation_table
from tamiyo_trl.seeds.blueprints import BLUEPRINTS
from tamiyo_trl.seeds.lifecycle import Op

DOCUMENT = Path(__file__).parents[3] / "docs" / "worlds.md"


@pytest.fixture(scope="module")
def played(tiny) -> tuple[GrowthEnv, TensorDict]:
    """Two hosts after four steps, the second with a seed; and what they saw last."""
    env = GrowthEnv(tiny, n_envs=2, seed=3)
    tensordict = env.reset()
    for op in (0, 1, 0, 0):
        tensordict["action"] = torch.tensor([[0, 0, 0], [op, 2 * op, op]])
        tensordict = env.step_mdp(env.step(tensordict))
    return env, tensordict


def test_every_feature_is_shown_with_its_value(played):
    env, tensordict = played
    for host in range(2):
        text = env.render(host)
        for name, value in zip(env.feature_names, tensordict["observation"][host].tolist(), strict=True):
            assert re.search(rf"{re.escape(name)}\s+{re.escape(f'{value:.3f}')}\b", text), (name, value)


def test_the_legal_actions_are_shown_numbered_and_no_others(played):
    env, tensordict = played
    for host in range(2):
        mask = tensordict["action_mask"][host]
        legal = legal_actions(mask)
        assert len(legal) == int(mask.sum())
        assert all(mask[action] for action in legal)
        assert legal[0] == (int(Op.WAIT), 0, 0)
        shown = re.findall(r"^ +(\d+)  (WAIT|GERMINATE|FOSSILIZE|CULL)", env.render(host), flags=re.M)
        assert [int(number) for number, _ in shown] == list(range(len(legal)))
        assert [name for _, name in shown] == [Op(op).name for op, _, _ in legal]


def test_the_sites_are_shown_with_their_seeds(played):
    env, _ = played
    lines = env.render(1).splitlines()
    assert lines[0] == "step 4"
    assert lines[5].split() == ["2", "BLENDING", "attention", "3", "0.67"]  # 2 incubating steps, 1 of 3 blended
    assert env.render(0).splitlines()[5].split() == ["2", "DORMANT", "-", "0", "0.00"]


def test_a_partial_reset_leaves_the_others_table_as_it_was(played):
    env, _ = played
    before = env.render(1)
    env.reset(TensorDict({"_reset": torch.tensor([[True], [False]])}, batch_size=[2]))
    assert env.render(1) == before
    assert env.render(0).startswith("step 0")


def test_a_loaded_state_shows_the_same_sites_and_actions(tiny, played):
    env, _ = played
    copy = GrowthEnv(tiny, n_envs=2, seed=77)
    copy.load_state_dict(env.state_dict())
    ours, theirs = (world.render(1).split("\n\n") for world in (env, copy))
    assert ours[:2] == theirs[:2]
    assert ours[3] == theirs[3]


@pytest.mark.parametrize("name", [*OBSERVATIONS, "privileged"])
def test_an_observation_table_counts_as_many_columns_as_the_entry_has(name):
    config = GrowthConfig(privileged=True)
    counts = {"one": 1, "one per site": 3, "one per blueprint": 7, "one per site and blueprint": 21}
    counts |= {"one per site and stage": 18, "one per deficit": len(MIXED["digits", 16])}
    cells = [line.split(" | ")[-1].removesuffix(" |") for line in observation_table(name).splitlines()[2:]]
    total = sum(counts.get(cell, cell.count(",") + 1) for cell in cells)
    features = config.views["privileged"] if name == "privileged" else feature_set(name)
    assert total == len(feature_names(features, 3, config.blueprints))


def test_the_document_holds_the_observation_tables_of_the_code_and_nothing_else():
    text = DOCUMENT.read_text().partition("## Observations")[2].partition("\n## ")[0]
    shown = [line for line in text.splitlines() if line.startswith("|")]
    expected, known = [], 0
    for name in ("minimal", "snapshot", "summary"):  # each table shows what it adds to the one before
        head, rule, *rows = observation_table(name).splitlines()
        expected += [head, rule, *rows[known:]]
        known = len(rows)
    for name in ("extras", "privileged"):
        expected += observation_table(name).splitlines()
    assert shown == expected


def test_every_feature_tells_its_source():
    for name, features in TABLES.items():
        for item in features:
            assert f"| {item.source} |" in observation_table(name)
            assert item.source in SOURCES


def test_what_is_hidden_is_told_by_the_privileged_table_alone():
    told = {name for name, features in TABLES.items() for item in features if item.source == "hidden"}
    assert told == {"privileged"}


def test_the_document_names_every_task_deficit_blueprint_op_and_reward_part():
    text = DOCUMENT.read_text()
    names = {deficit.name for family in MIXED.values() for deficit in family}
    names |= set(TASKS) | set(BLUEPRINTS) | {op.name for op in Op} | set(REWARDS)
    names |= {part for _, parts in REWARDS.values() for part in parts}
    assert not {name for name in names if f"`{name}`" not in text}
