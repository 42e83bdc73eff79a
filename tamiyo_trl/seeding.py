"""One seed in, every generator derived from it by name, so that no two consumers ever share a random stream."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream called `names` under the root `seed`.

    Equal arguments give equal seeds on every platform; different names give unrelated streams (BLAKE2b).
    """
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for the stream called `names` under the root `seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
