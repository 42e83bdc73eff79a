"""A fleet's state as plain data, and back: tensors, numbers and names alone, so that any checkpoint can hold it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tamiyo_trl.errors import CheckpointError
from tamiyo_trl.hosts.banks import Bank, Seeds
from tamiyo_trl.hosts.cnn import HostConfig, host_network
from tamiyo_trl.lockstep.rows import Rows, size_of
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, new_statistics, seed_network


def describe(hosts: Rows, seeds: Seeds) -> dict[str, Any]:
    """Return copies of all rows, by name: `hosts`, and `banks`, a list of banks with their members' hosts."""
    banks = [
        {"blueprint": b.name, "site": b.site, "hosts": list(b.hosts), "rows": _copies(b.rows)}
        for b in seeds.banks.values()
    ]
    return {"hosts": _copies(hosts), "banks": banks}


def restore(state: dict[str, Any], config: HostConfig, n_hosts: int, like: Tensor) -> tuple[Rows, Seeds]:
    """Return copies of the rows that `describe` described, with the device and dtype of `like`.

    Raises:
        CheckpointError: the state is damaged or belongs to a fleet of another form or size.
    """
    network = host_network(config)
    try:
        hosts = _rows(state["hosts"], n_hosts, size_of(network.shapes()), network.norms(), "hosts", like)
        seeds = Seeds(config.channels, like)
        for saved in state["banks"]:
            name, site, members = str(saved["blueprint"]), int(saved["site"]), [int(h) for h in saved["hosts"]]
            what = f"the bank of {name} at site {site}"
            fits = name in BLUEPRINTS and 0 <= site < len(config.channels)
            if not fits or members != sorted(set(members)) or not all(0 <= h < n_hosts for h in members):
                raise CheckpointError(f"{what} of hosts {members} does not fit a fleet of {n_hosts} such hosts")
            form = seed_network(name, config.channels[site])
            rows = _rows(saved["rows"], len(members), size_of(form.shapes()), form.norms(), what, like)
            seeds.adopt(Bank(name, site, config.channels[site], members, rows))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the saved fleet is damaged: {error!r} while reading it") from error
    return hosts, seeds


def _copies(rows: Rows) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in rows.tensors().items()}


def _rows(saved: dict[str, Tensor], n: int, size: int, norms: dict[str, int], what: str, like: Tensor) -> Rows:
    wide = dict.fromkeys(("values", "momentum", "trainable"), (n, size))
    statistics = {f"buffer.{name}": (n, len(t)) for name, t in new_statistics(norms).items()}
    wanted = wide | {"lr_scale": (n,)} | statistics
    found = {name: tuple(t.shape) for name, t in saved.items()}
    if wanted != found:
        name = next(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise CheckpointError(f"{what}: {name} should be {wanted.get(name)}, the saved fleet has {found.get(name)}")
    return Rows.from_tensors({name: t.to(like, copy=True) for name, t in saved.items()})
