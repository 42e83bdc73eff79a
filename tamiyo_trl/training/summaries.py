"""Numbers of a GrowthEnv batch, for the metrics table."""

from __future__ import annotations

from tensordict import TensorDictBase

from tamiyo_trl import keys


def growth_summary(batch: TensorDictBase) -> dict[str, float]:
    """Return means over the GrowthEnv episodes that ended in a batch [*, T]: accuracy and seeds; empty if none did."""
    done = batch["next", keys.DONE].squeeze(-1)
    if not bool(done.any()):
        return {}
    info = batch["next", keys.INFO]
    names = ("final_accuracy", "added_parameters", "germinated", "fossilized", "culled", "diverged")
    return {f"growth/{name}": info[name].squeeze(-1)[done].float().mean().item() for name in names}


def deficit_summary(batch: TensorDictBase) -> dict[str, float]:
    """Return number and mean final accuracy of the episodes that ended in a batch [*, T], for each hidden deficit."""
    done = batch["next", keys.DONE].squeeze(-1)
    info = batch["next", keys.INFO]
    deficit, accuracy = (info[name].squeeze(-1)[done] for name in ("deficit", "final_accuracy"))
    found = {}
    for number in deficit.unique().tolist():
        here = deficit == number
        found[f"deficit_{int(number)}/count"] = float(here.sum())
        found[f"deficit_{int(number)}/accuracy"] = accuracy[here].mean().item()
    return found
