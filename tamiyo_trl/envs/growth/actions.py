"""What Tamiyo can do: one action is a triple (op, site, blueprint)."""

from __future__ import annotations

import torch
from torch import Tensor

from tamiyo_trl.seeds.lifecycle import Op

HEAD_NAMES = ("op", "site", "blueprint")


def growth_actions(n_sites: int, n_blueprints: int) -> Tensor:
    """Return every action that can ever be legal, int64 [A, 3]: the table `FlatAction` needs.

    Order: WAIT, GERMINATE (site by site, blueprint by blueprint), FOSSILIZE per site, CULL per site. One site and five
    blueprints give the design spec's eight flat actions.
    """
    rows = [(Op.WAIT, 0, 0)]
    rows += [(Op.GERMINATE, site, blueprint) for site in range(n_sites) for blueprint in range(n_blueprints)]
    rows += [(op, site, 0) for op in (Op.FOSSILIZE, Op.CULL) for site in range(n_sites)]
    return torch.tensor(rows, dtype=torch.long)


def action_name(action: tuple[int, int, int], blueprints: tuple[str, ...]) -> str:
    """Return what people call this action, for errors, tables and the terminal."""
    op, site, blueprint = action
    if op == Op.WAIT:
        return "WAIT"
    if op == Op.GERMINATE:
        return f"GERMINATE {blueprints[blueprint]} at site {site}"
    return f"{Op(op).name} at site {site}"
