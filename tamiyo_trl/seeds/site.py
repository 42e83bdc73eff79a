"""GrowthSite: a place in anybody's network where a seed may grow; nothing at all until one is planted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.seeds.factories import PROBES, Form
from tamiyo_trl.seeds.lifecycle import Stage


class GrowthSite(nn.Module):
    """The identity, until a seed is planted; then what the seed's stage says.

    TRAINING: the output is the input, bit for bit; the seed learns from the network's loss as if its output had been
    used (straight-through), and the network gets no gradient through the seed. BLENDING, HOLDING and FOSSILIZED: the
    output is (1 - alpha) h + alpha s(h), and gradients follow it. Whoever plants seeds (a `Grower`) sets the stage.

    Args:
        channels: C of the activations that pass here.
        form: "map" for activations [B, C, H, W], "features" for [..., C].

    Attributes:
        seed: The planted module, or None.
        stage: Where the seed stands.
        was_trained: Whether an activation passed in training mode since this was last set to False.
        name: What errors and logs call the site; a Grower sets it to the site's place in the model.

    Raises:
        ConfigError: the form is unknown or there are no channels.
        SpecError: in `forward`, an activation of another form, or a seed that changes the shape.
    """

    alpha: Tensor

    def __init__(self, channels: int, form: Form = "map") -> None:
        super().__init__()
        if form not in PROBES:
            raise ConfigError(f"form must be one of {', '.join(PROBES)}: got {form!r}")
        if channels < 1:
            raise ConfigError(f"channels must be positive: got {channels}")
        self.channels, self.form = channels, form
        self.seed: nn.Module | None = None
        self.stage, self.was_trained, self.name = Stage.DORMANT, False, "a growth site"
        self._switched = False
        # A buffer, so that it moves with the model and a compiled model need not be compiled anew when it changes.
        self.register_buffer("alpha", torch.zeros(()), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return what the rest of the network sees of h."""
        self._check(h)
        if self.training:
            self.was_trained = True
        if self.seed is None:
            return h
        if self.stage == Stage.TRAINING:
            if self._switched:
                return self._grown(self.seed, h)
            return StraightThrough.apply(h, self._grown(self.seed, h.detach())) if self.training else h
        return h if self._switched else torch.lerp(h, self._grown(self.seed, h), self.alpha.to(h.dtype))

    def plant(self, seed: nn.Module) -> None:
        """Put a seed here, moved to where the site lives and to its dtype; it starts in the incubator.

        Raises:
            ConfigError: there is one already.
        """
        if self.seed is not None:
            raise ConfigError(f"{self.name} already has a seed")
        self.seed = seed.to(self.alpha.device, self.alpha.dtype).train(self.training)
        self.show(Stage.TRAINING, 0.0)

    def remove(self) -> None:
        """Take the seed out: the site is the identity again."""
        self.seed = None
        self.show(Stage.DORMANT, 0.0)

    def show(self, stage: Stage, alpha: float) -> None:
        """Set the seed's stage and its weight in the forward pass, 0..1."""
        self.stage = stage
        self.alpha.fill_(alpha)

    @contextmanager
    def switched(self) -> Iterator[None]:
        """Inside, the seed is switched: off, or fully on if it stands in the incubator."""
        self._switched = True
        try:
            yield
        finally:
            self._switched = False

    def extra_repr(self) -> str:
        """Return what `print(model)` shows of the site."""
        return f"{self.channels}, form={self.form!r}, stage={self.stage.name}"

    def _grown(self, seed: nn.Module, h: Tensor) -> Tensor:
        grown = seed(h)
        if grown.shape != h.shape:
            raise SpecError(f"the seed at {self.name} must keep the shape {tuple(h.shape)}: got {tuple(grown.shape)}")
        return grown.to(h.dtype)

    def _check(self, h: Tensor) -> None:
        found = h.shape[1] if self.form == "map" and h.ndim == 4 else h.shape[-1]
        if (self.form == "map" and h.ndim != 4) or found != self.channels:
            wanted = f"[B, {self.channels}, H, W]" if self.form == "map" else f"[..., {self.channels}]"
            raise SpecError(f"{self.name} is for activations {wanted}: got {list(h.shape)}")


class StraightThrough(torch.autograd.Function):
    """Return h as it is; hand the gradient to h unchanged, and the same to s as if s had been returned."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, s: Tensor) -> Tensor:
        """Return h, sharing its memory."""
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient for both."""
        return gradient, gradient
