"""One contestant in a process of its own: advances when told to and says what it took.

Reads lines of JSON ({"advance": n}), answers in kind. Started by recurrent_ppo.py.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from benchmarks.sizes import Sizes


def make(name: str, sizes: Sizes) -> Any:
    """Return the contestant called `name`; imports are here because not every interpreter has them all."""
    if name == "sb3-contrib RecurrentPPO":
        from benchmarks.peer_sb3 import Sb3

        return Sb3(sizes)
    from benchmarks.contestants import CONTESTANTS

    return CONTESTANTS[name](sizes)


def main() -> None:
    """Serve until the input ends."""
    torch.set_num_threads(1)
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    contestant = make(name, Sizes(**settings))
    for line in sys.stdin:
        updates = json.loads(line)["advance"]
        wall, cpu = time.perf_counter(), time.process_time()
        frames = sum(contestant.advance() for _ in range(updates))
        taken = {"frames": frames, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
