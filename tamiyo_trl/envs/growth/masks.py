"""Which actions are legal, and why one is not.

The mask is joint, bool [E, ops, S, K]: the site's legality depends on the op, the blueprint's on both. Where a part of
the action does not matter exactly its value 0 is legal, so every legal triple means something different.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tamiyo_trl.envs.growth.readings import History
from tamiyo_trl.seeds import Lifecycle, Stage
from tamiyo_trl.seeds.lifecycle import Op


def germination_gate(
    lifecycle: Lifecycle, step: Tensor, episode_steps: int, history: History, max_kept: int | None
) -> Tensor:
    """Return whether germination is open to each host, bool [E], after `step` steps, int64 [E]."""
    rules = lifecycle.config
    opened = (step >= rules.germinate_from) & (step < episode_steps)
    if rules.plateau_steps:
        opened &= history.stabilised & (history.plateau >= rules.plateau_steps)
    if max_kept is not None:
        opened &= (lifecycle.stage == int(Stage.FOSSILIZED)).sum(-1) < max_kept
    return opened


def joint_mask(lifecycle: Lifecycle, gate: Tensor, n_blueprints: int) -> Tensor:
    """Return the legal actions, bool [E, 4, S, K]; `gate` bool [E] opens germination."""
    n_hosts, n_sites = lifecycle.stage.shape
    mask = torch.zeros(n_hosts, len(Op), n_sites, n_blueprints, dtype=torch.bool)
    mask[:, Op.WAIT, 0, 0] = True
    mask[:, Op.GERMINATE] = (lifecycle.can_germinate & gate[:, None])[..., None]
    mask[:, Op.FOSSILIZE, :, 0] = lifecycle.can_fossilize
    mask[:, Op.CULL, :, 0] = lifecycle.can_cull
    return mask


def why_illegal(lifecycle: Lifecycle, host: int, action: tuple[int, int, int], max_kept: int | None) -> str:
    """Return the reason why this action is forbidden to this host now."""
    op, site, blueprint = action
    config = lifecycle.config
    stage = Stage(int(lifecycle.stage[host, site]))
    if op == Op.WAIT or (op != Op.GERMINATE and blueprint != 0):
        return f"{Op(op).name} takes {'site 0 and ' if op == Op.WAIT else ''}blueprint 0, the only legal value there"
    if op == Op.GERMINATE:
        if stage != Stage.DORMANT:
            return f"the site is {stage.name}, not DORMANT"
        if bool(lifecycle.is_live[host].any()):
            return "another seed is live, and one is allowed at a time"
        kept = int((lifecycle.stage[host] == int(Stage.FOSSILIZED)).sum())
        if max_kept is not None and kept >= max_kept:
            return f"{kept} seeds are kept and max_kept is {max_kept}"
        return f"germination opens at step {config.germinate_from} and after {config.plateau_steps} plateau steps"
    age = int(lifecycle.age[host, site])
    if op == Op.FOSSILIZE:
        waited = int(lifecycle.in_stage[host, site])
        return f"the site is {stage.name} for {waited} steps; it must be HOLDING for at least {config.hold_steps}"
    return f"the site is {stage.name} at age {age}; a live seed of age {config.min_cull_age} or more can be culled"
