"""Rollouts as rows, and rows as slices: the pieces of time a recurrent policy is trained on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tensordict import TensorDict, TensorDictBase

from tamiyo_trl.errors import ConfigError, SpecError

TIME = "time"  # what TorchRL's collectors call the time dimension


def as_rows(batch: TensorDictBase) -> TensorDictBase:
    """Return `batch` [*, T] as rows [R, T], R = product of *; an unbatched rollout [T] is one row.

    Raises:
        SpecError: no batch dimension, time not last, or a padded batch of whole trajectories.
    """
    if batch.ndim == 0 or 0 in batch.shape:
        raise SpecError(f"a batch needs at least one step, time last ([*, T]): batch size {list(batch.batch_size)}")
    if TIME in batch.names and batch.names[-1] != TIME:
        raise SpecError(f"time must be the last dimension of a batch: its dimensions are {batch.names}")
    if ("collector", "mask") in batch.keys(include_nested=True):
        raise SpecError('padded batches ("collector", "mask") are not served: collect with split_trajs=False')
    return batch.reshape(-1, batch.shape[-1])


class Slices:
    """The rows of a rollout cut into slices of `length` steps; the last slice of a row is shorter if need be.

    Every step of the rollout lies in exactly one slice, and nothing is padded: slices of different lengths never share
    a tensor. A `length` of the whole row or more gives one slice per row.

    Attributes:
        count: number of slices.
        frames: number of steps in all slices together.
    """

    def __init__(self, rows: TensorDictBase, length: int) -> None:
        """Cut `rows` [R, T].

        Raises:
            ConfigError: `length` is below 1.
        """
        if length < 1:
            raise ConfigError(f"slice_len must be at least 1: {length}")
        steps = rows.shape[1]
        length = min(length, steps)
        whole = steps // length * length
        groups = [rows[:, :whole].reshape(-1, length), *([rows[:, whole:]] if whole < steps else [])]
        self.count = sum(len(group) for group in groups)
        # Time first in memory: recurrent passes go step by step.
        self._groups = [group.transpose(0, 1).contiguous() for group in groups]
        self.frames = rows.numel()

    @staticmethod
    def check(rows: int, steps: int, length: int, minibatches: int) -> None:
        """Check that `rows` rows of `steps` steps, cut into slices of `length`, can be dealt to `minibatches`.

        Raises:
            ConfigError: more minibatches than slices.
        """
        count = rows * -(-steps // length)
        if minibatches > count:
            raise ConfigError(
                f"minibatches must not exceed the number of slices: {minibatches} > {count} "
                f"({rows} rows of {steps} steps in slices of {length})"
            )

    def take(self, ids: torch.Tensor) -> list[TensorDictBase]:
        """Return the slices numbered `ids` (int64 [n]) as one [slices, steps] tensordict per slice length present."""
        parts: list[TensorDictBase] = []
        first = 0
        for group in self._groups:
            here = group.shape[1]
            inside = ids if here == self.count else ids[(ids >= first) & (ids < first + here)] - first
            if len(inside):
                # index_select copies whole steps; indexing would gather number by number.
                picked = {key: entry.index_select(1, inside).transpose(0, 1) for key, entry in group.items()}
                parts.append(TensorDict(picked, [len(inside), group.shape[0]], device=group.device))
            first += here
        return parts

    def minibatches(self, number: int, generator: torch.Generator) -> Iterator[list[TensorDictBase]]:
        """Yield `number` random minibatches (see `take`) that together hold every slice once.

        Their numbers of slices differ by at most one.
        """
        for ids in torch.randperm(self.count, generator=generator).tensor_split(number):
            yield self.take(ids)
