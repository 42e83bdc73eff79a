"""The digits task is real, seeded, and split by source digit."""

from __future__ import annotations

import pytest
import torch

from tamiyo_trl.data import Corruption, DataOrder, DigitsTask, SplitSizes
from tamiyo_trl.data.digits import load_sources, source_splits
from tamiyo_trl.data.tasks import make_task
from tamiyo_trl.errors import ConfigError
from tests.reference.digits import plain_place

SIZES = SplitSizes(train=64, val=32, test=48)


def test_no_source_digit_is_in_two_splits():
    splits = source_splits()
    together = torch.cat(splits)
    assert len(together) == len(set(together.tolist())) == 1797
    assert [len(split) for split in splits] == [1078, 359, 360]


def test_every_image_comes_from_its_own_splits_digits():
    task = DigitsTask(8)
    clean = Corruption(contrast=0.0, brightness=0.0)
    drawn = task.draw(5, SIZES, clean)
    digits, _ = load_sources()
    for split, images in zip(source_splits(), (drawn.train_images, drawn.val_images, drawn.test_images), strict=True):
        # Undo 2 (x - 0.25); the front digit, shifted by at most one pixel, must be explained by a digit of the split.
        x = images[:8, 0] / 2 + 0.25
        shifted = torch.stack([plain_place(digits, dy, dx, 8) for dy in (-1, 0, 1) for dx in (-1, 0, 1)], dim=1)
        error = (x[:, None, None] - shifted[None]).square().mean((-1, -2)).amin(-1)  # [8, 1797]
        own = torch.zeros(1797, dtype=torch.bool)
        own[split] = True
        assert (error[:, own].amin(-1) <= error[:, ~own].amin(-1) + 0.02).float().mean() > 0.9


@pytest.mark.parametrize("size", [8, 16])
def test_images_are_a_function_of_the_seed(size):
    task = make_task("digits", size)
    first, second, other = (task.draw(seed, SIZES, Corruption()) for seed in (1, 1, 2))
    assert torch.equal(first.train_images, second.train_images)
    assert torch.equal(first.test_labels, second.test_labels)
    assert not torch.equal(first.train_images, other.train_images)
    assert first.val_images.shape == (32, task.channels, size, size)


@pytest.mark.parametrize("offset", [(0, 0), (2, -1), (-2, 2)])
def test_placing_shifts_with_zero_fill(offset):
    task = DigitsTask(8)
    digits, _ = load_sources()
    placed = task._padded[7][
        (torch.arange(8) + task._margin + offset[0])[:, None], (torch.arange(8) + task._margin + offset[1])[None]
    ]
    assert torch.equal(placed, plain_place(digits[7:8], *offset, 8)[0])


def test_label_noise_replaces_its_share_of_training_labels_only():
    sizes = SplitSizes(train=4000, val=64, test=64)
    task = DigitsTask(8)
    clean, noisy = (task.draw(3, sizes, Corruption(label_noise=share)) for share in (0.0, 0.35))
    # A replaced label stays right by chance in one case of ten: 0.35 * 0.9 = 0.315.
    assert (clean.train_labels != noisy.train_labels).float().mean().item() == pytest.approx(0.315, abs=0.03)
    assert torch.equal(clean.val_labels, noisy.val_labels)
    assert torch.equal(clean.test_labels, noisy.test_labels)


def test_small_pool_repeats_its_images():
    drawn = DigitsTask(8).draw(3, SIZES, Corruption(pool_size=10))
    assert drawn.pool == 10
    assert torch.equal(drawn.train_images[:10], drawn.train_images[10:20])
    assert len(drawn.train_images.flatten(1).unique(dim=0)) == 10


def test_order_shows_every_image_once_per_pass():
    order = DataOrder(seed=0, pool=10)
    shown = torch.cat([order.next(4) for _ in range(5)])
    assert sorted(shown[:10].tolist()) == sorted(shown[10:].tolist()) == list(range(10))


def test_loaded_order_goes_on_alike():
    order = DataOrder(seed=4, pool=7)
    order.next(5)
    copy = DataOrder(seed=0, pool=1)
    copy.load_state_dict(order.state_dict())
    assert torch.equal(order.next(30), copy.next(30))


def test_unknown_task_and_size_are_refused_by_name():
    with pytest.raises(ConfigError, match="task must be one of .*'digits'.*, got 'faces'"):
        make_task("faces", 16)
    with pytest.raises(ConfigError, match=r"image sizes \[8, 16\], got 12"):
        make_task("digits", 12)


def test_reward_images_are_none_of_the_validation_images_and_change_no_other_split():
    task = DigitsTask(8)
    less, more = (task.draw(5, SplitSizes(64, 32, 48, reward=count), Corruption()) for count in (0, 40))
    assert len(less.reward_labels) == 0
    assert more.reward_images.shape == (40, *more.val_images.shape[1:])
    for name in ("train_images", "val_images", "test_images", "train_labels", "val_labels", "test_labels"):
        assert torch.equal(getattr(less, name), getattr(more, name))
    shown = {image.numpy().tobytes() for image in more.val_images}
    assert not shown & {image.numpy().tobytes() for image in more.reward_images}
