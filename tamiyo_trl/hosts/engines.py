"""Engines: how many hosts of a fleet run in one pass, and in which precision.

All engines share one state and one maths. `grouped` runs hosts together, each layer in one call or a few; `looped`
runs host after host. `auto` is what `benchmarks/fleet.py` found faster: `looped` for one host, and on a CPU for hosts
of CIFAR size, which keep a core busy alone and need less memory so; else `grouped`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts.cnn import HostConfig

ENGINES, PRECISIONS = ("auto", "grouped", "looped"), ("fp32", "bf16", "fp64")
CACHE_BYTES = 16 << 20  # largest activation of one grouped pass on a CPU
RETAINED_BYTES = 31 << 20
LARGE_BYTES = 64 << 10  # a host's largest activation for one image, from which on grouping gains nothing on a CPU


@dataclass(frozen=True)
class Engine:
    """How a fleet is run.

    Attributes:
        name: `grouped` or `looped`.
        precision: `fp32`, `bf16` (activations and convolutions; weights, norms' statistics, losses and optimiser stay
            fp32) or `fp64` (for proofs; slow).
        device: where.
        host_bytes: size of a host's largest fp32 activation for one image.
    """

    name: str
    precision: str
    device: torch.device
    host_bytes: int

    @property
    def dtype(self) -> torch.dtype:
        """What weights and images are stored in."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def activation_dtype(self) -> torch.dtype:
        """What activations are computed in."""
        return torch.bfloat16 if self.precision == "bf16" else self.dtype

    @property
    def evaluation_chunk(self) -> int:
        """Images per host that are evaluated at a time."""
        return min(256, max(16, CACHE_BYTES // self.host_bytes))

    def passes(self, n_hosts: int, images: int) -> list[slice]:
        """Return the hosts of each pass when every host runs `images` images at a time."""
        if self.name == "looped":
            rows = 1
        elif self.device.type == "cpu":
            rows = max(2, CACHE_BYTES // (self.host_bytes * images))
        else:
            rows = n_hosts
        count = max(1, n_hosts // rows)  # no pass is smaller than `rows`
        edges = [i * n_hosts // count for i in range(count + 1)]
        return [slice(a, b) for a, b in zip(edges, edges[1:])]


def make_engine(name: str, precision: str, host: HostConfig, n_hosts: int, device: torch.device) -> Engine:
    """Return the engine called `name` for a fleet.

    Raises:
        ConfigError: no such engine or precision.
    """
    if name not in ENGINES or precision not in PRECISIONS:
        raise ConfigError(
            f"engine must be one of {', '.join(ENGINES)} and precision one of {', '.join(PRECISIONS)}: "
            f"got {name!r} and {precision!r}"
        )
    if device.type == "cpu":
        keep_freed_memory()
    edges = (host.image_size, *host.sizes)
    widths = zip(host.channels, edges, edges[1:], host.downsample)
    largest = max(c * (after if kind == "stride" else before) ** 2 for c, before, after, kind in widths)
    host_bytes = 4 * max(largest, host.in_channels * host.image_size**2)
    if name == "auto":
        is_large = device.type == "cpu" and host_bytes > LARGE_BYTES
        name = "looped" if n_hosts == 1 or is_large else "grouped"
    return Engine(name, precision, device, host_bytes)


def keep_freed_memory() -> None:
    """Make the C library keep up to 62 MiB of freed memory, so that every step reuses the pages of the step before.

    glibc hands freed memory back above twice the largest block it has seen freed, and fresh pages cost more than the
    arithmetic done in them. Allocating one untouched block and freeing it raises that mark. Source: mallopt(3),
    M_TRIM_THRESHOLD. Elsewhere it does nothing.
    """
    torch.empty(RETAINED_BYTES, dtype=torch.uint8)
