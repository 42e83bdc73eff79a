"""What GrowthEnv shows, takes and returns: every key with its shape, dtype and range.

Axes: E hosts, F observation columns, S sites, K blueprints.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.data import Binary, Bounded, Categorical, Composite, MultiCategorical, Unbounded

from tamiyo_trl import keys
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op

# Measurements no policy reads, float32 [E, 1] under ("info", name).
INFO = {
    "val_accuracy": "on the validation split, fraction; committed network at the episode's end",
    "train_accuracy": "mean over the epoch, fraction",
    "final_accuracy": "committed network's test accuracy, fraction; 0 until the episode ends",
    "paid_accuracy": "accuracy that the reward counts, fraction: val_accuracy, and the reward split's at the end",
    "added_parameters": "parameters of the seeds present",
    "germinated": "seeds planted so far in the episode",
    "fossilized": "seeds kept so far in the episode",
    "culled": "seeds removed by Tamiyo so far in the episode",
    "deficit": "number of the hidden deficit in the family",
    "diverged": "1 when the host became non-finite",
}


def observation_spec(
    bounds: dict[str, tuple[Tensor, Tensor]], n_hosts: int, sizes: tuple[int, int], parts: tuple[str, ...]
) -> Composite:
    """Return the spec of everything `reset` and `step` write.

    bounds: of the columns of each view, by entry; sizes: (sites, blueprints); parts: of the reward.
    """
    n_sites, n_blueprints = sizes
    number = Unbounded(shape=(n_hosts, 1), dtype=torch.float32)
    info = {name: number.clone() for name in INFO}
    info["episode_seed"] = Unbounded(shape=(n_hosts, 1), dtype=torch.int64)
    info["stage"] = Categorical(len(Stage), shape=(n_hosts, n_sites), dtype=torch.int64)
    info["blueprint"] = Bounded(-1, n_blueprints - 1, shape=(n_hosts, n_sites), dtype=torch.int64)
    info["alpha"] = Bounded(0.0, 1.0, shape=(n_hosts, n_sites), dtype=torch.float32)
    return Composite(
        {
            **{
                entry: Bounded(low.expand(n_hosts, -1).clone(), high.expand(n_hosts, -1).clone(), dtype=torch.float32)
                for entry, (low, high) in bounds.items()
            },
            keys.ACTION_MASK: Binary(n=n_blueprints, shape=(n_hosts, len(Op), n_sites, n_blueprints), dtype=torch.bool),
            keys.REWARD_PARTS: Composite({part: number.clone() for part in parts}, shape=(n_hosts,)),
            keys.INFO: Composite(info, shape=(n_hosts,)),
        },
        shape=(n_hosts,),
    )


def action_spec(n_hosts: int, n_sites: int, n_blueprints: int) -> MultiCategorical:
    """Return the spec of the action triple, int64 [E, 3]."""
    return MultiCategorical(nvec=(len(Op), n_sites, n_blueprints), shape=(n_hosts, 3), dtype=torch.int64)


def done_spec(n_hosts: int) -> Composite:
    """Return the spec of the three end flags, bool [E, 1] each."""
    flag = Categorical(2, shape=(n_hosts, 1), dtype=torch.bool)
    names = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)
    return Composite({name: flag.clone() for name in names}, shape=(n_hosts,))


def reward_spec(n_hosts: int) -> Unbounded:
    """Return the spec of the reward, float32 [E, 1]."""
    return Unbounded(shape=(n_hosts, 1), dtype=torch.float32)
