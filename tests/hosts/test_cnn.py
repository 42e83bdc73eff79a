"""The host's form, size and birth."""

from __future__ import annotations

import math

import pytest
import torch

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.hosts.cnn import to_rows


def test_the_two_spec_hosts_have_their_parameter_counts() -> None:
    # 32-64-128: convolutions 864 + 18,432 + 73,728, norms 64 + 128 + 256, head 1,290; the same at 8-16-32: 216 + 1,152
    # + 4,608 + 112 + 330
    assert HostConfig.spec().parameters == 94_762
    assert HostConfig.baseline().parameters == 6_418
    assert Fleet(HostConfig.baseline(), 1).host_parameters == 6_418


@pytest.mark.parametrize(
    ("size", "kinds", "expected"),
    [
        (16, ("pool",) * 3, (8, 4, 2)),
        (8, ("stride", "pool", "none"), (4, 2, 2)),
        (9, ("stride", "pool", "none"), (5, 2, 2)),
    ],
)
def test_each_block_halves_as_its_kind_says(size: int, kinds: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert HostConfig(image_size=size, downsample=kinds).sizes == expected


def test_weights_are_born_uniform_within_the_inverse_root_of_their_fan_in() -> None:
    fleet = Fleet(HostConfig.spec(), 1)
    fleet.reset([0], [HostBirth(5)])
    named = fleet.named_host(0)
    for name, fan_in in {"conv0": 27, "conv1": 288, "conv2": 576, "head.weight": 128}.items():
        bound = math.sqrt(1 / fan_in)
        assert named[name].abs().max() <= bound
        assert named[name].std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert (named["norm1.weight"] == 1).all()
    assert (named["norm1.bias"] == 0).all()
    assert (named["norm1.var"] == 1).all()


def test_a_birth_is_a_function_of_its_seed_alone() -> None:
    one, other = Fleet(HostConfig(), 2), Fleet(HostConfig(), 5, engine="looped")
    one.reset([1], [HostBirth(7)])
    other.reset([3, 4], [HostBirth(7), HostBirth(8)])
    first, same, different = one.named_host(1), other.named_host(3), other.named_host(4)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["conv0"], different["conv0"])


def test_a_stuck_block_keeps_its_convolution_and_only_some_channels_alive() -> None:
    fleet = Fleet(HostConfig(image_size=8), 2)
    fleet.reset([0, 1], [HostBirth(3, stuck_block=1, alive_channels=4), HostBirth(3)])
    before = fleet.named_host(0)
    assert [bool(c.any()) for c in before["conv1"]] == [True] * 4 + [False] * 12
    assert torch.equal(before["conv1"][:4], fleet.named_host(1)["conv1"][:4])
    images, labels = torch.randn(2, 16, 3, 8, 8), torch.randint(0, 10, (2, 16))
    for _ in range(3):
        fleet.train_step(images, labels, torch.full((2,), 0.1))
    after = fleet.named_host(0)
    assert torch.equal(after["conv1"], before["conv1"])
    assert not torch.equal(after["conv2"], before["conv2"])


def test_images_become_one_activation_in_host_order() -> None:
    images = torch.arange(2 * 3 * 2 * 4).float().view(2, 3, 2, 2, 2)  # 2 hosts, 3 images, 2 channels, 2x2
    pick = torch.tensor([[2, 0], [1, 1]])
    rows = to_rows(images, pick)
    assert rows.is_contiguous()
    assert torch.equal(rows[0], images[0, [2, 0]].permute(0, 2, 3, 1))
    assert torch.equal(rows[1], images[1, [1, 1]].permute(0, 2, 3, 1))
    shared, one = images[:1].expand(4, -1, -1, -1, -1), images[0, 1].permute(1, 2, 0)
    assert torch.equal(to_rows(shared, torch.ones(4, 1, dtype=torch.long)), rows.new_zeros(4, 1, 1, 1, 1) + one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, "positive"),
        ({"channels": (8, 0, 4)}, "positive"),
        ({"downsample": ("pool", "pool")}, "per block"),
        ({"downsample": ("pool", "mean", "pool")}, "pool, stride, none"),
        ({"image_size": 4}, "too small"),
    ],
)
def test_an_impossible_host_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HostConfig(**arguments)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize(
    ("birth", "message"),
    [
        (HostBirth(0, stuck_block=3), r"0\.\.2"),
        (HostBirth(0, stuck_block=0, alive_channels=9), r"0\.\.8"),
    ],
)
def test_a_deficit_that_the_host_cannot_have_is_refused(birth: HostBirth, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fleet(HostConfig(), 1).reset([0], [birth])
    with pytest.raises(ConfigError, match="stuck_block"):
        HostBirth(0, alive_channels=3)
