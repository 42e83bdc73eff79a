"""The embedded task: scikit-learn's real handwritten digits with shifts, distractors, contrast and noise.

The 1,797 source digits are divided once into training, validation and test digits, so that no digit is ever seen in
two splits; every image is drawn from its split's digits. The label is the class of the digit in front; a paler second
digit of the same split lies behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from tamiyo_trl.data.corruption import distort, noisy_labels, pool_rows
from tamiyo_trl.data.images import Corruption, EpisodeImages, SplitSizes
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeding import generator

SPLIT_SEED = 20261123
SPLIT_SHARES = (0.6, 0.2, 0.2)  # training, validation, test digits


@dataclass(frozen=True)
class DigitsLook:
    """How a digit becomes an image at one resolution (pixels; contrast and noise in units of full ink).

    Attributes:
        digit_size: Edge of the drawn digit; 8 is the source's own.
        channels: 3 colours each image at random, 1 keeps it grey.
        shift: Largest shift of the digit, each way.
        distractor_shift: Largest shift of the digit behind.
        distractor: Ink of the digit behind.
        noise: Standard deviation of pixel noise.
        contrast: Standard deviation of an image's log contrast.
        brightness: Standard deviation of the offset of each image and channel.
    """

    digit_size: int
    channels: int
    shift: int
    distractor_shift: int
    distractor: float
    noise: float
    contrast: float = 0.2
    brightness: float = 0.1


LOOKS = {
    8: DigitsLook(digit_size=8, channels=1, shift=1, distractor_shift=3, distractor=0.40, noise=0.10),
    16: DigitsLook(digit_size=12, channels=3, shift=2, distractor_shift=6, distractor=0.50, noise=0.25),
}


@lru_cache(maxsize=1)
def load_sources() -> tuple[Tensor, Tensor]:
    """Return all source digits, float32 [1797, 8, 8] in 0..1, and their classes, int64 [1797]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.tensor(bunch.images, dtype=torch.float32) / 16.0, torch.tensor(bunch.target, dtype=torch.long)


@lru_cache(maxsize=1)
def source_splits() -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of the training, validation and test digits; disjoint, fixed for good."""
    count = len(load_sources()[1])
    order = torch.randperm(count, generator=generator(SPLIT_SEED, "digits"))
    first = round(SPLIT_SHARES[0] * count)
    second = first + round(SPLIT_SHARES[1] * count)
    return order[:first], order[first:second], order[second:]


class DigitsTask:
    """Draws an episode's images from the embedded digits at 16x16 RGB or at the digits' own 8x8.

    Raises:
        ConfigError: no look is defined for this image size.
    """

    classes = 10
    image_sizes = tuple(LOOKS)

    def __init__(self, image_size: int = 16) -> None:
        if image_size not in LOOKS:
            raise ConfigError(f"the digits task has image sizes {sorted(LOOKS)}, got {image_size}")
        self.image_size = image_size
        self.look = LOOKS[image_size]
        self.channels = self.look.channels
        digits, self._classes = load_sources()
        size = self.look.digit_size
        if size != digits.shape[-1]:
            digits = F.interpolate(digits[:, None], size=(size, size), mode="bilinear", antialias=False)[:, 0]
        # Room on every side, so that a shifted digit is a plain crop of its padded picture.
        self._margin = self.look.distractor_shift
        centre = (image_size - size) // 2
        before, after = centre + self._margin, image_size - size - centre + self._margin
        self._padded = F.pad(digits, (before, after, before, after))

    def draw(self, seed: int, sizes: SplitSizes, corruption: Corruption) -> EpisodeImages:
        """Return the images of the episode with this seed."""
        pool = min(corruption.pool_size or sizes.train, sizes.train)
        parts: dict[str, Tensor] = {}
        train, val, test = source_splits()
        for name, digits, count in (
            ("train", train, pool),
            ("val", val, sizes.val),
            ("test", test, sizes.test),
            ("reward", val, sizes.reward),
        ):
            rng = generator(seed, "images", name)
            images, labels = self._draw_split(digits, count, corruption, rng)
            if name == "train":
                labels = noisy_labels(labels, corruption.label_noise, self.classes, rng)
                rows = pool_rows(pool, sizes.train)
                images, labels = images[rows], labels[rows]
            parts |= {f"{name}_images": images, f"{name}_labels": labels}
        return EpisodeImages(**parts, pool=pool)

    def _draw_split(
        self, digits: Tensor, count: int, corruption: Corruption, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw `count` images of these source digits: float32 [count, C, H, W] and labels int64 [count]."""
        look = self.look
        front = digits[torch.randint(len(digits), (count,), generator=rng)]
        behind = digits[torch.randint(len(digits), (count,), generator=rng)]
        x = self._colour(count, rng) * self._place(front, look.shift, rng)
        x += look.distractor * self._colour(count, rng) * self._place(behind, look.distractor_shift, rng)
        x += look.noise * torch.randn(x.shape, generator=rng)
        return distort(2.0 * (x - 0.25), corruption, (look.contrast, look.brightness), rng), self._classes[front]

    def _colour(self, count: int, rng: torch.Generator) -> Tensor:
        """Ink per image and channel, [count, C, 1, 1]: random for RGB, full for grey."""
        if self.channels == 1:
            return torch.ones(count, 1, 1, 1)
        return 0.5 + 0.5 * torch.rand(count, self.channels, 1, 1, generator=rng)

    def _place(self, digits: Tensor, shift: int, rng: torch.Generator) -> Tensor:
        """Shift each digit by up to `shift` pixels each way, zero-filled: [count, 1, H, W]."""
        offsets = torch.randint(-shift, shift + 1, (2, len(digits)), generator=rng)
        lines = torch.arange(self.image_size) + self._margin
        rows = (lines + offsets[0][:, None])[:, :, None]
        columns = (lines + offsets[1][:, None])[:, None, :]
        return self._padded[digits[:, None, None], rows, columns][:, None]
