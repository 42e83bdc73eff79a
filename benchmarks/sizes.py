"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes and settings that all contestants share.

    Attributes:
        envs: environments side by side (E).
        steps: steps of each per update (T).
        hidden: units of the LSTM (H).
        encoder: units of the layer before it.
        slice_len: steps a gradient flows back (L); divides `steps`.
        epochs: passes over a batch.
        minibatches: optimiser steps per pass.
    """

    envs: int = 16
    steps: int = 128
    hidden: int = 128
    encoder: int = 128
    slice_len: int = 8
    epochs: int = 4
    minibatches: int = 4
