"""The lifecycle never leaves its table, and its timers are the documented ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds import TRANSITIONS, Lifecycle, LifecycleConfig, Stage, blend_alpha


def stages_and_alphas(config: LifecycleConfig, steps: int) -> list[tuple[Stage, float]]:
    """Plant at the first step, then only wait: (stage, alpha) during each epoch's training."""
    life = Lifecycle(config, 1, 1)
    life.move(0, 0, Stage.TRAINING)
    seen = []
    for _ in range(steps):
        seen.append((Stage(int(life.stage[0, 0])), round(float(life.alpha[0, 0]), 3)))
        life.advance()
    return seen


def test_default_life_takes_two_three_one():
    seen = stages_and_alphas(LifecycleConfig(), 7)
    # 2 epochs in the incubator, alpha 1/3, 2/3, 3/3, then holding.
    expected = [(Stage.TRAINING, 0.0)] * 2
    expected += [(Stage.BLENDING, 0.333), (Stage.BLENDING, 0.667), (Stage.BLENDING, 1.0)]
    expected += [(Stage.HOLDING, 1.0)] * 2
    assert seen == expected


def test_spec_life_blends_by_the_reference_sigmoid():
    seen = stages_and_alphas(LifecycleConfig.spec(), 9)
    assert [alpha for stage, alpha in seen if stage == Stage.BLENDING] == [0.182, 0.378, 0.622, 0.818, 1.0]
    assert [stage for stage, _ in seen].count(Stage.TRAINING) == 3


def test_fossilizing_opens_after_the_documented_number_of_steps():
    for config in (LifecycleConfig(), LifecycleConfig.spec()):
        life = Lifecycle(config, 1, 1)
        life.move(0, 0, Stage.TRAINING)
        steps = 1
        while True:
            life.advance()
            steps += 1
            if life.can_fossilize[0, 0]:
                break
        assert steps + config.germinate_from == config.life_steps


def test_cull_waits_for_its_age_and_embargo_closes_the_site_for_its_time():
    life = Lifecycle(LifecycleConfig(min_cull_age=3, embargo_steps=2), 1, 2)
    life.move(0, 0, Stage.TRAINING)
    for expected in (False, False, False, True):
        assert bool(life.can_cull[0, 0]) is expected
        if not expected:
            life.advance()
    assert not life.can_germinate.any()  # one live seed at a time, at any site
    life.move(0, 0, Stage.CULLED)
    assert life.can_germinate.tolist() == [[False, True]]
    life.advance()
    assert life.can_germinate.tolist() == [[False, True]]
    life.advance()
    assert life.can_germinate.tolist() == [[True, True]]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(list(Stage))), max_size=60))
def test_lifecycle_never_leaves_its_table(wishes):
    life = Lifecycle(LifecycleConfig(), 3, 2)
    for host, site, wish in wishes:
        before = Stage(int(life.stage[host, site]))
        if wish in TRANSITIONS[before]:
            life.move(host, site, wish)
        else:
            with pytest.raises(ValueError, match=f"{before.name} cannot become {wish.name}"):
                life.move(host, site, wish)
        snapshot = life.stage.clone()
        life.advance()
        for old, new in zip(snapshot.flatten().tolist(), life.stage.flatten().tolist(), strict=True):
            assert old == new or Stage(new) in TRANSITIONS[Stage(old)]
        assert ((life.alpha >= 0) & (life.alpha <= 1)).all()
        assert (life.alpha[~life.has_seed] == 0).all()
        assert (life.age[~life.has_seed] == 0).all()


@given(st.integers(1, 12), st.sampled_from(["linear", "sigmoid"]))
def test_alpha_rises_from_zero_to_exactly_one(steps, curve):
    config = LifecycleConfig(blend_steps=steps, blend_curve=curve)
    alphas = [blend_alpha(config, step) for step in range(steps + 2)]
    assert alphas[0] == 0.0
    assert alphas[-1] == alphas[-2] == 1.0
    assert all(a < b for a, b in zip(alphas[:-2], alphas[1:-1], strict=True))


def test_a_loaded_lifecycle_goes_on_alike():
    life = Lifecycle(LifecycleConfig(), 2, 3)
    life.move(1, 2, Stage.TRAINING)
    life.advance()
    copy = Lifecycle(LifecycleConfig(), 2, 3)
    copy.load_state_dict(life.state_dict())
    for _ in range(8):
        life.advance()
        copy.advance()
        assert torch.equal(life.stage, copy.stage)
        assert torch.equal(life.alpha, copy.alpha)


@pytest.mark.parametrize("wrong", [{"train_steps": 0}, {"min_cull_age": -1}, {"blend_curve": "cubic"}])
def test_impossible_timers_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LifecycleConfig(**wrong)
