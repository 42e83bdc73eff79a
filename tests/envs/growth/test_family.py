"""A family's hidden deficits and qualities are functions of the episode's seed and the germination's number alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.data.tasks import TASKS
from tamiyo_trl.envs.growth.deficits import HIDDEN_QUALITY, MIXED
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig

SEEDS = st.integers(min_value=0, max_value=2**63 - 1)
KINDS = st.sampled_from(sorted(MIXED))


@given(seed=SEEDS, others=st.lists(SEEDS, max_size=3), noise=st.integers(min_value=0, max_value=2**31), kind=KINDS)
def test_a_deficit_is_a_function_of_the_episodes_seed_alone(seed, others, noise, kind):
    task, size = kind
    first = make_family("mixed", size, task).deficit(seed)
    torch.manual_seed(noise)  # neither the global stream nor other episodes matter
    family = make_family("mixed", size, task)
    for other in others:
        family.deficit(other)
        family.seed_quality(other, 0)
    assert family.deficit(seed) == first
    assert 0 <= first < len(family.deficits)


@given(seed=SEEDS, germination=st.integers(0, 50), asked=st.lists(st.integers(0, 50), max_size=4))
def test_a_quality_is_a_function_of_seed_and_germination_alone(seed, germination, asked):
    family = make_family("mixed", 16)
    expected = family.seed_quality(seed, germination)
    for other in asked:
        family.seed_quality(seed, other)
    assert family.seed_quality(seed, germination) == expected
    # Whatever the deficit, the quality is the same: choices made under it are comparable.
    assert family.only("contrast").seed_quality(seed, germination) == expected


@given(seed=SEEDS, germination=st.integers(0, 50))
def test_a_quality_lies_in_its_range(seed, germination):
    quality = make_family("mixed", 8).seed_quality(seed, germination)
    assert quality.dead_share in HIDDEN_QUALITY.dead_shares
    for value, (low, high) in (
        (quality.lr_scale, HIDDEN_QUALITY.lr_scale),
        (quality.init_scale, HIDDEN_QUALITY.init_scale),
    ):
        assert low * (1 - 1e-6) <= value <= high * (1 + 1e-6)


def test_deficits_are_equally_likely_and_qualities_differ_between_germinations():
    family = make_family("mixed", 16)
    counts = Counter(family.deficit(seed) for seed in range(3000))
    # Each of 6 expects 500 with a standard deviation of sqrt(3000 / 6 * 5 / 6) = 20; five of them are 100.
    assert all(400 < counts[number] < 600 for number in range(len(family.deficits)))
    drawn = {family.seed_quality(1, germination).lr_scale for germination in range(20)}
    assert len(drawn) == 20


def test_one_deficit_can_be_asked_for_by_name():
    whole = make_family("mixed", 16)
    for deficit in whole.deficits:
        alone = make_family(f"mixed:{deficit.name}", 16)
        assert alone.deficits == (deficit,)
        assert {alone.deficit(seed) for seed in range(20)} == {0}
    assert make_family("single", 8).deficits[0].name == "healthy"


def test_at_one_size_all_tasks_name_their_deficits_alike():
    for size in {size for _, size in MIXED}:
        names = {tuple(deficit.name for deficit in MIXED[key]) for key in MIXED if key[1] == size}
        assert len(names) == 1


def test_every_task_has_a_mixed_family_at_every_size_and_its_hosts_can_be_born():
    expected = {(name, size) for name, kind in TASKS.items() for size in kind.image_sizes}
    assert set(MIXED) == expected
    for task, size in expected:
        fleet = Fleet(HostConfig(image_size=size), n_hosts=1)
        for deficit in MIXED[task, size]:
            fleet.reset([0], [HostBirth(1, deficit.lr_scale, deficit.stuck_block, deficit.alive_channels)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd", r"family must be one of \['duds', 'mixed', 'single'\] or e.g. 'mixed:contrast', got 'odd'"),
        ("mixed:sad", "the deficit of family 'mixed' must be one of contrast, slow, .*; got 'sad'"),
        ("mixed:", "must be one of contrast"),
        ("single:slow", "the deficit of family 'single' must be one of healthy; got 'slow'"),
    ],
)
def test_unknown_families_and_deficits_are_refused_by_name(name, message):
    with pytest.raises(ConfigError, match=message):
        make_family(name, 16)


def test_a_family_that_is_not_set_for_a_size_is_refused():
    with pytest.raises(ConfigError, match="family 'mixed' is set for .*digits 8.*; got digits 12"):
        make_family("mixed", 12)
