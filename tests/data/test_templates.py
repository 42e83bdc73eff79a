"""The templates tasks are seeded, as smooth and as shifted as they say, and can be learned."""

from __future__ import annotations

import pytest
import torch

from tamiyo_trl.data import Corruption, SplitSizes, TemplatesTask
from tamiyo_trl.data.tasks import make_task
from tamiyo_trl.data.templates import LOOKS, SHARED_SEED, draw_patterns, shift_around
from tamiyo_trl.errors import ConfigError

SIZES = SplitSizes(train=256, val=64, test=128)
PLAIN = Corruption(contrast=0.0, brightness=0.0)


@pytest.mark.parametrize("name", ["templates", "fresh-templates"])
@pytest.mark.parametrize("size", [8, 16, 32])
def test_images_are_a_function_of_the_seed(name, size):
    task = make_task(name, size)
    first, second, other = (task.draw(seed, SIZES, Corruption()) for seed in (1, 1, 2))
    assert first.train_images.shape == (256, 3, size, size)
    for part in ("train_images", "val_images", "test_labels"):
        assert torch.equal(getattr(first, part), getattr(second, part))
    assert not torch.equal(first.train_images, other.train_images)


def nearest_class(drawn, patterns: torch.Tensor, look) -> torch.Tensor:
    """Classify by the most correlated shifted pattern: the slow optimum of an undistorted task."""
    reach = range(-look.shift, look.shift + 1)
    shifted = torch.stack([patterns.roll((dy, dx), (2, 3)) for dy in reach for dx in reach], dim=1)
    shifted = shifted[: 10 * look.patterns].flatten(2)
    match = torch.einsum("nd,psd->nps", drawn.test_images.flatten(1), shifted).amax(-1)
    return match.argmax(1) // look.patterns


def test_labels_follow_the_shared_patterns_of_every_episode():
    look, patterns = LOOKS[16], draw_patterns(SHARED_SEED, 16)
    for seed in (3, 4):
        drawn = TemplatesTask(16).draw(seed, SIZES, PLAIN)
        assert (nearest_class(drawn, patterns, look) == drawn.test_labels).float().mean() > 0.95


def test_fresh_patterns_differ_between_episodes():
    look, patterns = LOOKS[16], draw_patterns(SHARED_SEED, 16)
    drawn = TemplatesTask(16, fresh=True).draw(3, SIZES, PLAIN)
    assert (nearest_class(drawn, patterns, look) == drawn.test_labels).float().mean() < 0.3  # chance is 0.1


def test_patterns_are_smooth_and_of_unit_size():
    patterns = draw_patterns(SHARED_SEED, 32)
    assert patterns.flatten(1).mean(1).abs().max() < 1e-5
    torch.testing.assert_close(patterns.flatten(1).std(1), torch.ones(len(patterns)))
    # White noise smoothed by a Gaussian of width w correlates over a distance d by exp(-d^2 / 4 w^2):
    # exp(-1 / 36) = 0.973 for neighbours at w = 3, exp(-36 / 36) = 0.368 six pixels away.
    for distance, expected in ((1, 0.973), (6, 0.368)):
        correlation = (patterns * patterns.roll(distance, 3)).mean((1, 2, 3)).mean().item()
        assert correlation == pytest.approx(expected, abs=0.06)


def test_shifting_goes_around_the_edges_and_reaches_every_offset():
    images = torch.randn(400, 2, 6, 6)
    moved = shift_around(images, 1, torch.Generator().manual_seed(0))
    ways = [images.roll((dy, dx), (2, 3)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    hits = torch.stack([(moved == way).flatten(1).all(1) for way in ways])
    assert (hits.sum(0) == 1).all()
    assert (hits.sum(1) > 20).all()  # each of 9 ways about 44 times


def test_label_noise_and_pool_act_on_training_only():
    sizes = SplitSizes(train=4000, val=64, test=64)
    task = TemplatesTask(8)
    clean, noisy = (task.draw(3, sizes, Corruption(label_noise=share)) for share in (0.0, 0.35))
    # A replaced label stays right by chance in one case of ten: 0.35 * 0.9 = 0.315.
    assert (clean.train_labels != noisy.train_labels).float().mean().item() == pytest.approx(0.315, abs=0.03)
    assert torch.equal(clean.test_labels, noisy.test_labels)
    small = task.draw(3, sizes, Corruption(pool_size=100))
    assert small.pool == 100
    assert torch.equal(small.train_images[:100], small.train_images[100:200])


def test_contrast_and_brightness_replace_the_tasks_own():
    # Log contrast 1.5 spreads the images' log sizes by about 1.5, brightness 2 their channel means by about 2.
    strong = TemplatesTask(16).draw(1, SplitSizes(256, 1024, 64), Corruption(contrast=1.5, brightness=2.0)).val_images
    centred = strong - strong.mean((2, 3), keepdim=True)
    assert centred.flatten(1).std(1).log().std().item() == pytest.approx(1.5, abs=0.15)
    assert strong.mean((2, 3)).median(0).values.abs().max() < 0.3
    plain = TemplatesTask(16).draw(1, SplitSizes(256, 1024, 64), PLAIN).val_images
    assert plain.flatten(1).std(1).log().std() < 0.2


def test_unknown_sizes_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"image sizes \[8, 16, 32\], got 12"):
        TemplatesTask(12)


def test_reward_images_are_none_of_the_validation_images_and_change_no_other_split():
    task = TemplatesTask(8)
    less, more = (task.draw(5, SplitSizes(64, 32, 48, reward=count), Corruption()) for count in (0, 40))
    assert len(less.reward_labels) == 0
    assert more.reward_images.shape == (40, *more.val_images.shape[1:])
    for name in ("train_images", "val_images", "test_images", "train_labels", "val_labels", "test_labels"):
        assert torch.equal(getattr(less, name), getattr(more, name))
    shown = {image.numpy().tobytes() for image in more.val_images}
    assert not shown & {image.numpy().tobytes() for image in more.reward_images}
