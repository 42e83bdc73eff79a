"""Image tasks: what an episode's images are, and how its data order is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Corruption:
    """What is wrong with an episode's data. For damage of another kind, override `change` in a frozen subclass.

    Attributes:
        contrast: Standard deviation of each image's log contrast; None keeps the task's own.
        brightness: Standard deviation of the offset of each image and channel; None keeps the task's own.
        label_noise: Share of training labels replaced by a random class.
        pool_size: Number of distinct training images; None keeps the episode's own.
    """

    contrast: float | None = None
    brightness: float | None = None
    label_noise: float = 0.0
    pool_size: int | None = None

    def change(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return images [n, C, H, W] of one split as this damages them, a function of `images` and `rng` alone."""
        return images


@dataclass(frozen=True)
class SplitSizes:
    """How many images each split of an episode holds.

    Attributes:
        train: Training pool.
        val: Validation images, which every step is measured on; the fewer, the noisier the controller's view.
        test: Test images, which only reports are measured on.
        reward: Images that pay an episode's last step, drawn like the validation images yet none of them: no view
            shows them, no report is measured on them. The more, the less noise in a return; 0 pays by `val`.
    """

    train: int = 2048
    val: int = 256
    test: int = 1024
    reward: int = 1024


@dataclass(frozen=True)
class EpisodeImages:
    """One episode's images, float32 [n, C, H, W], and labels, int64 [n]; `pool` counts the distinct training images.

    A pool smaller than the training split is repeated to fill it, so that every host's tensors have equal shapes.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    reward_images: Tensor
    reward_labels: Tensor
    pool: int


class ImageTask(Protocol):
    """Where images come from. An episode's images are a function of its seed and corruption alone."""

    image_size: int
    channels: int
    classes: int

    def draw(self, seed: int, sizes: SplitSizes, corruption: Corruption) -> EpisodeImages:
        """Return the images of the episode with this seed."""
        ...


class DataOrder:
    """The order in which one host sees its training pool: a fresh permutation at each pass, cut into epochs."""

    def __init__(self, seed: int, pool: int) -> None:
        self.pool = pool
        self._generator = torch.Generator().manual_seed(seed)
        self._left = torch.empty(0, dtype=torch.long)

    def next(self, count: int) -> Tensor:
        """Return the next `count` image numbers, int64 [count]."""
        while len(self._left) < count:
            self._left = torch.cat([self._left, torch.randperm(self.pool, generator=self._generator)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return everything the coming orders depend on."""
        return {"pool": self.pool, "generator": self._generator.get_state(), "left": self._left.clone()}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        self.pool, self._left = state["pool"], state["left"].clone()
        self._generator.set_state(state["generator"])
