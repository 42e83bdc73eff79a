"""The process-wide random streams: a run has its own, whatever its surroundings draw meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tamiyo_trl.seeding import derive_seed


class Streams:
    """The global generators of torch (CPU and CUDA), NumPy and Python as one run sees them.

    Policies sample from torch's global generator and environments may use any of the three. Inside `active` they are
    the run's; outside they are as if the run did not exist.

    Attributes:
        state: where the run's streams stand, as plain numbers and tensors.
    """

    def __init__(self, seed: int, owner: str = "train") -> None:
        """Begin the streams of `owner` under the root `seed`; owners of other names draw other numbers."""
        outer = _get()
        torch.manual_seed(derive_seed(seed, owner, "torch"))
        np.random.seed(derive_seed(seed, owner, "numpy") % 2**32)
        random.seed(derive_seed(seed, owner, "python"))
        self.state = _get()
        _set(outer)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the run's streams be the global ones inside the block."""
        outer = _get()
        _set(self.state)
        try:
            yield
        finally:
            self.state = _get()
            _set(outer)


def _get() -> dict[str, Any]:
    name, words, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (name, torch.from_numpy(np.asarray(words, dtype=np.int64)), position, has_gauss, cached),
        "python": random.getstate(),
    }


def _set(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, words, *rest = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
