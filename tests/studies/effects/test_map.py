"""The map of effects decides as arithmetic by hand does."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.effects.map import NEVER, Effects, acceptance
from tamiyo_trl.studies.effects.picture import effects_map
from tamiyo_trl.studies.effects.tables import best_table, cull_table, effects_table, quality_table

# Three deficits, never-grow and four choices; each mends one deficit, `junk` harms always, nothing mends the third.
MEANS = np.array(
    [
        [0.40, 0.60, 0.45, 0.42, 0.20],
        [0.50, 0.50, 0.70, 0.55, 0.30],
        [0.60, 0.58, 0.57, 0.59, 0.35],
    ]
)
ARMS = (NEVER, "a@0", "b@1", "c@2", "junk@0")


def made(noise: float = 0.0, hosts: int = 6) -> Effects:
    rng = np.random.default_rng(0)
    host = rng.normal(0, 0.05, (3, 1, hosts))  # shared by all arms: pairing takes it out
    return Effects(("x", "y", "z"), ARMS, MEANS[..., None] + host + rng.normal(0, noise, (3, 5, hosts)))


def test_best_choices_and_margins_are_those_of_the_means():
    effects = made()
    assert [ARMS[arm] for arm in effects.best] == ["a@0", "b@1", NEVER]
    # Means over deficits: never 0.5, a 0.56, b 0.5733, c 0.52, junk 0.2833.
    assert ARMS[effects.constant] == "b@1"
    # (0.60 + 0.70 + 0.60) / 3 = 0.6333; less 0.5733 and 0.5.
    checks = {claim: value for claim, value, _ in acceptance(effects).claims}
    assert checks["oracle over the best constant choice (at least 4 points)"].startswith("+6.0 ")
    assert checks["oracle over never-grow (at least 8 points)"].startswith("+13.3 ")


def test_what_harms_and_what_is_left_alone_is_named():
    effects = made()
    assert effects.harmful() == ["junk@0"]
    assert effects.best_left_alone() == ["z"]
    # Of a, b and c nothing costs as surely as b under z: 3 points on every host (a costs 2 there, c 1).
    name, cost = effects.surest_harm()
    assert name == "b@1 under z"
    assert cost.mean == pytest.approx(-0.03)
    assert cost.high < 0


def test_a_choice_made_by_the_other_hosts_earns_no_more_than_one_made_by_all():
    effects = made(noise=0.1, hosts=10)
    oracle, constant = effects.left_out()
    assert oracle.mean() < effects.oracle_values().mean()
    assert constant.mean() <= effects.net[:, effects.constant].mean() + 1e-12
    for d in range(3):
        assert (
            effects.left_out_gain(d).mean <= effects.gain(d, 1 + int(effects.net[d, 1:].mean(-1).argmax())).mean + 1e-12
        )


def test_choosing_among_pure_noise_is_not_accepted():
    """The best of 21 is good, and the worst bad, on the hosts that chose it, and on no others."""
    chosen, fair, worst = [], [], []
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(0.5, 0.05, (3, 22, 8))
        effects = Effects(("x", "y", "z"), (NEVER, *(f"{kind}@0" for kind in range(21))), noise)
        assert not acceptance(effects).accepted
        gains = effects.net - effects.net[:, :1]
        chosen.append((effects.oracle_values() - effects.net[:, 0].mean(0)).mean())
        fair.append((effects.left_out()[0] - effects.net[:, 0].mean(0)).mean())
        worst.append((gains.mean(-1).min(), effects.surest_harm()[1].mean))
    # A difference of means of 8 over 3 deficits has a standard error of 5 sqrt(2 / 24) = 1.4 points, 0.5 over 8 maps.
    assert np.mean(chosen) > 0.025
    assert abs(np.mean(fair)) < 0.015
    assert np.mean(worst, axis=0)[0] < -0.04
    assert abs(np.mean(worst, axis=0)[1]) < 0.03  # one choice, not three: 5 sqrt(2 / 8) = 2.5, 0.9 over 8 maps


def test_a_choice_that_was_not_measured_everywhere_is_never_the_best():
    effects = made()
    net = effects.net.copy()
    net[0, 1, 2] = np.nan
    partial = Effects(effects.deficits, effects.arms, net)
    assert ARMS[partial.best[0]] == "b@1"
    assert ARMS[partial.constant] == "b@1"
    assert "| a@0 |  |" in effects_table(partial)


def test_tables_and_picture_show_every_choice(tmp_path):
    effects = made(0.01)
    table = effects_table(effects)
    assert all(f"| {arm} |" in table for arm in ARMS[1:])
    assert table.count("**") == 2 * 2  # the third deficit's best is never-grow
    assert best_table(effects).count("\n") == 4
    effects_map(effects, "title", tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_two_hosts_are_enough_for_a_map():
    rng = np.random.default_rng(0)
    name, cost = Effects(("x",), ARMS, rng.normal(0.5, 0.1, (1, 5, 2))).surest_harm()
    assert name.endswith(" under x")
    assert np.isfinite(cost.mean)


def test_gains_are_told_by_hidden_quality():
    # Host 0 has dead units and loses 10 points by every kept seed, the others gain 20 and learn fast.
    net = np.full((2, 2, 4), 0.5)
    net[:, 1] += np.array([-0.1, 0.2, 0.2, 0.2])
    table = quality_table(Effects(("x", "y"), (NEVER, "a@0"), net), [0.9, 0.0, 0.0, 0.0], [0.5, 3.0, 3.0, 3.0])
    assert table.splitlines()[2:] == [
        "| dead share 0 | 3 | +20.0 | 0% / 0% |",
        "| dead share 0.9 | 1 | -10.0 | 100% / 100% |",
        "| learning rate below the host's | 1 | -10.0 | 100% / 100% |",
        "| 2.5 times and more | 3 | +20.0 | 0% / 0% |",
    ]


def test_seeds_that_were_better_culled_are_counted_by_blueprint_and_deficit():
    # a@0 costs 1 point on one of four hosts under x, a@1 3 points on two; nothing else costs anything.
    net = np.full((2, 4, 4), 0.5)
    net[0, 1, 0] -= 0.01
    net[0, 2, :2] -= 0.03
    table = cull_table(Effects(("x", "y"), (NEVER, "a@0", "a@1", "b@0"), net))
    assert table.splitlines() == [
        "| blueprint | x | y | all |",
        "|---|---|---|---|",
        "| a | 38% / 25% | 0% / 0% | 19% / 12% |",  # 3 and 2 of 8; 3 and 2 of 16
        "| b | 0% / 0% | 0% / 0% | 0% / 0% |",
        "| all | 25% / 17% | 0% / 0% | 12% / 8% |",  # 3 and 2 of 12, of 24
    ]


@pytest.mark.parametrize(
    ("arms", "shape"), [((NEVER, "a@0"), (1, 3, 4)), (("a@0", NEVER), (1, 2, 4)), ((NEVER, "a@0"), (1, 2, 1))]
)
def test_maps_that_make_no_sense_are_refused(arms, shape):
    with pytest.raises(ConfigError):
        Effects(("x",), arms, np.zeros(shape))
