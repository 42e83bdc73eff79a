"""Features are bounded, finite, named once, and forget what came before the previous step."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.envs.growth.features import Scene, symlog
from tamiyo_trl.envs.growth.hidden import Hidden
from tamiyo_trl.envs.growth.observations import (
    MINIMAL,
    OBSERVATIONS,
    SNAPSHOT,
    SUMMARY,
    feature_bounds,
    feature_names,
    feature_set,
    observe,
)
from tamiyo_trl.envs.growth.readings import History, Readings
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds import Stage

KINDS = ("norm", "wide", "lossy")
WILD = st.sampled_from([0.0, 0.3, 1.0, -2.0, 7.5, 1e6, -1e6, float("inf"), float("-inf"), float("nan")])


def scene(values: list[float], stages: list[int]) -> Scene:
    """A scene of 2 hosts and 3 sites whose measurements are as wild as asked."""
    now, before = Readings.blank(2, 3), Readings.blank(2, 3)
    names = ["train_loss", "val_loss", "train_accuracy", "val_accuracy", "contribution", "host_grad_norm"]
    names += ["seed_grad_norm", "added_parameters"]
    for name, value in zip(names, values, strict=True):
        setattr(now, name, torch.tensor([value, 0.5]))
    now.stage = torch.tensor([stages, [0, 0, 0]])
    now.blueprint = torch.where(now.stage > 0, 1, -1)
    hidden = Hidden.blank(2, 3)
    return Scene(now, before, now, History.blank(2, 3, 3), hidden, torch.zeros(2), 25, 6418, KINDS)


@given(st.lists(WILD, min_size=8, max_size=8), st.sampled_from([[0, 0, 0], [1, 0, 4], [5, 2, 0], [4, 4, 3]]))
def test_every_feature_is_finite_and_within_its_bounds(values, stages):
    for features in OBSERVATIONS.values():
        shown = observe(features, scene(values, stages))
        low, high = feature_bounds(features, 3, KINDS)
        assert shown.shape == (2, len(feature_names(features, 3, KINDS)))
        assert torch.isfinite(shown).all()
        assert (shown >= low).all()
        assert (shown <= high).all()


def test_column_names_are_unique_and_sets_extend_each_other():
    for features in OBSERVATIONS.values():
        names = feature_names(features, 3, KINDS)
        assert len(names) == len(set(names))
    assert SNAPSHOT[: len(MINIMAL)] == MINIMAL
    assert SUMMARY[: len(SNAPSHOT)] == SNAPSHOT


@pytest.mark.parametrize("name", ["minimal", "snapshot"])
def test_memoryless_sets_read_nothing_of_the_history(name):
    plain = scene([0.5] * 8, [0, 2, 4])
    history = History.blank(2, 3, 3)
    for item in dataclasses.fields(history):
        value = getattr(history, item.name)
        setattr(history, item.name, torch.ones_like(value))
    assert torch.equal(
        observe(feature_set(name), plain), observe(feature_set(name), dataclasses.replace(plain, history=history))
    )


@settings(max_examples=5)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 10), noise=st.integers(0, 1000))
def test_only_the_summary_depends_on_anything_before_the_previous_step(tiny, seed, steps, noise):
    """Two worlds alike but for what they remember: what they see after the next step differs in `summary` alone."""
    env, other = (GrowthEnv(tiny, n_envs=2, seed=seed) for _ in range(2))
    env.rollout(steps, break_when_any_done=False)
    other.load_state_dict(env.state_dict())
    rng = torch.Generator().manual_seed(noise)
    for item in dataclasses.fields(History):
        value = getattr(other.world.history, item.name)
        value[:] = torch.randint(0, 2, value.shape, generator=rng).to(value.dtype)
    action = env.rand_action()
    for world in (env, other):
        world.step(action.clone())
    seen = {
        name: [observe(features, scene_of(world)) for world in (env, other)] for name, features in OBSERVATIONS.items()
    }
    for name in ("minimal", "snapshot"):
        assert torch.equal(*seen[name])
    assert not torch.equal(*seen["summary"])


def scene_of(env: GrowthEnv) -> Scene:
    return env._scene(env._before)


def test_hand_worked_columns():
    now = scene([1.5, 2.0, 0.25, 0.5, 0.125, 3.0, 1.0, 6418.0], [0, int(Stage.BLENDING), 4])
    now.now.step[:] = 5
    now.now.age[0, 1] = 10
    now.now.alpha[0] = torch.tensor([0.0, 0.5, 1.0])
    shown = dict(zip(feature_names(SNAPSHOT, 3, KINDS), observe(SNAPSHOT, now)[0].tolist(), strict=True))
    assert shown["time"] == pytest.approx(5 / 25)
    assert shown["val loss"] == pytest.approx(1.0986, abs=1e-4)  # log(1 + 2)
    assert shown["seed stage BLENDING"] == 1
    assert shown["seed age"] == pytest.approx(10 / 25)
    assert shown["seed alpha"] == 0.5  # the live seed's, not the fossil's
    assert [shown[f"live site {site}"] for site in range(3)] == [0, 1, 0]
    assert [shown[f"fossil at {site}"] for site in range(3)] == [0, 0, 1]
    assert shown["live blueprint wide"] == 1
    assert shown["growth"] == pytest.approx(0.6931, abs=1e-4)  # log(1 + 6418/6418)
    assert symlog(torch.tensor(-2.0)).item() == pytest.approx(-1.0986, abs=1e-4)


def test_summary_remembers_the_last_five_the_best_and_the_plateau():
    history, before = History.blank(1, 1, 1), Readings.blank(1, 1)
    before.val_accuracy[:] = 0.1
    history.reset(torch.ones(1, dtype=torch.bool), before)
    for accuracy in (0.3, 0.5, 0.502, 0.501, 0.4, 0.404):
        now = before.clone()
        now.val_accuracy = torch.tensor([accuracy])
        history.record(before, now)
        before = now
    assert history.val_accuracies[0].tolist() == pytest.approx([0.5, 0.502, 0.501, 0.4, 0.404])
    assert history.best_accuracy.item() == pytest.approx(0.502)
    assert history.plateau.item() == 4  # gains of .002, -.001, -.101 and .004 are all below .005
    assert history.initial_accuracy.item() == pytest.approx(0.1)


def test_unknown_set_is_refused_by_name():
    with pytest.raises(ConfigError, match="got 'everything'"):
        feature_set("everything")
