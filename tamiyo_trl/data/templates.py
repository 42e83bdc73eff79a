"""The procedural task: each class is a handful of smooth random patterns; nothing but a seed is needed to make it.

An image is one pattern of its class, shifted around the edges, with a classless pattern laid over it, noise, contrast
and brightness. Training, validation and test images are independent draws. The patterns are one set for all episodes
(`templates`), or another set in each (`fresh-templates`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tamiyo_trl.data.corruption import distort, noisy_labels, pool_rows
from tamiyo_trl.data.images import Corruption, EpisodeImages, SplitSizes
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeding import derive_seed, generator

SHARED_SEED = 20261123  # of the pattern set that all episodes share


@dataclass(frozen=True)
class TemplatesLook:
    """How hard the task is at one resolution (lengths in pixels; the rest in standard deviations of a pattern).

    Attributes:
        patterns: Patterns per class: the more, the more capacity is needed.
        smoothness: Width of the Gaussian that white noise is smoothed by to make a pattern.
        shift: Largest shift, each way, around the edges.
        distractor: Strength of the classless pattern laid over.
        distractors: How many classless patterns there are.
        noise: Standard deviation of pixel noise.
        contrast: Standard deviation of an image's log contrast.
        brightness: Standard deviation of the offset of each image and channel.
    """

    patterns: int
    smoothness: float
    shift: int
    distractor: float
    noise: float
    distractors: int = 64
    contrast: float = 0.2
    brightness: float = 0.1


LOOKS = {
    8: TemplatesLook(patterns=6, smoothness=1.0, shift=1, distractor=0.6, noise=0.4),
    16: TemplatesLook(patterns=8, smoothness=1.5, shift=2, distractor=0.6, noise=0.7),
    32: TemplatesLook(patterns=6, smoothness=3.0, shift=4, distractor=0.6, noise=0.8),
}


class TemplatesTask:
    """Draws an episode's images from smooth random patterns in three channels.

    Args:
        image_size: Edge of the images.
        fresh: Whether each episode has patterns of its own.

    Raises:
        ConfigError: no look is defined for this image size.
    """

    channels, classes = 3, 10
    image_sizes = tuple(LOOKS)

    def __init__(self, image_size: int = 16, fresh: bool = False) -> None:
        if image_size not in LOOKS:
            raise ConfigError(f"the templates tasks have image sizes {sorted(LOOKS)}, got {image_size}")
        self.image_size, self.fresh, self.look = image_size, fresh, LOOKS[image_size]

    def draw(self, seed: int, sizes: SplitSizes, corruption: Corruption) -> EpisodeImages:
        """Return the images of the episode with this seed."""
        pool = min(corruption.pool_size or sizes.train, sizes.train)
        patterns = draw_patterns(derive_seed(seed, "patterns") if self.fresh else SHARED_SEED, self.image_size)
        parts: dict[str, Tensor] = {}
        counts = {"train": pool, "val": sizes.val, "test": sizes.test, "reward": sizes.reward}
        for name, count in counts.items():
            rng = generator(seed, "images", name)
            x, y = self._draw_split(patterns, count, rng)
            x = distort(x, corruption, (self.look.contrast, self.look.brightness), rng)
            if name == "train":
                rows = pool_rows(pool, sizes.train)
                y = noisy_labels(y, corruption.label_noise, self.classes, rng)
                x, y = x[rows], y[rows]
            parts |= {f"{name}_images": x, f"{name}_labels": y}
        return EpisodeImages(**parts, pool=pool)

    def _draw_split(self, patterns: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` images, float32 [count, C, H, W], and their classes, int64 [count]."""
        look = self.look
        labels = torch.randint(self.classes, (count,), generator=rng)
        which = torch.randint(look.patterns, (count,), generator=rng)
        behind = torch.randint(look.distractors, (count,), generator=rng)
        x = shift_around(patterns[labels * look.patterns + which], look.shift, rng)
        x += look.distractor * shift_around(patterns[self.classes * look.patterns + behind], self.image_size // 2, rng)
        return x + look.noise * torch.randn(x.shape, generator=rng), labels


@lru_cache(maxsize=4)
def draw_patterns(seed: int, image_size: int) -> Tensor:
    """Return the smooth patterns of this seed, float32 [classes * P + distractors, C, H, W], each of mean 0 and std 1.

    The patterns of class c are rows c P to (c + 1) P - 1; the classless ones come last.
    """
    look = LOOKS[image_size]
    count = TemplatesTask.classes * look.patterns + look.distractors
    shape = (count, TemplatesTask.channels, image_size, image_size)
    white = torch.randn(shape, generator=generator(seed, "patterns"))
    frequency = torch.fft.fftfreq(image_size)
    squared = frequency[:, None] ** 2 + torch.fft.rfftfreq(image_size)[None] ** 2
    # Smoothing by a Gaussian of width w multiplies the spectrum by exp(-2 (pi w f)^2).
    smooth = torch.fft.irfft2(
        torch.fft.rfft2(white) * torch.exp(-2 * (torch.pi * look.smoothness) ** 2 * squared), s=shape[-2:]
    )
    smooth -= smooth.mean((1, 2, 3), keepdim=True)
    return smooth / smooth.std((1, 2, 3), keepdim=True)


def shift_around(images: Tensor, reach: int, rng: torch.Generator) -> Tensor:
    """Return each image [n, C, H, W] shifted by up to `reach` pixels each way, around the edges."""
    size = images.shape[-1]
    offsets = torch.randint(-reach, reach + 1, (2, len(images)), generator=rng)
    lines = torch.arange(size)
    rows = ((lines + offsets[0][:, None]) % size)[:, None, :, None]
    columns = ((lines + offsets[1][:, None]) % size)[:, None, None, :]
    own = torch.arange(len(images))[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return images[own, channels, rows, columns]
