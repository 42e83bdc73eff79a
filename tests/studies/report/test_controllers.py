"""The table of all controllers, from episodes whose accuracies are made up so that every cell can be read off."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.report.controllers import controller_row, controllers_table, schedule_verdict

HOSTS = (11, 12, 13, 14)


def episodes(*accuracies: float, hosts=HOSTS) -> list:
    counts = {"added_parameters": 100.0, "germinated": 2.0, "fossilized": 1.0, "culled": 1.0}
    return [
        SimpleNamespace(seed=host, final_accuracy=accuracy, **counts)
        for host, accuracy in zip(hosts, accuracies, strict=True)
    ]


NEVER = episodes(0.30, 0.30, 0.40, 0.40)
SCHEDULE = episodes(0.40, 0.42, 0.50, 0.52)


def row(name, *runs, learned=True):
    return controller_row(name, runs, NEVER, SCHEDULE, learned)


def test_a_row_by_hand():
    """Two runs whose means over the four hosts are 0.46 and 0.50; each host's value is the mean of both."""
    found = row("lstm", episodes(0.41, 0.43, 0.49, 0.51), episodes(0.45, 0.45, 0.55, 0.55))
    assert found.final_accuracy.mean == pytest.approx(0.48)
    assert found.gain.mean == pytest.approx(0.13)
    assert found.lead.mean == pytest.approx(0.02)
    assert found.lead.n == 4
    assert found.spread == pytest.approx(0.04 / 2**0.5)
    cells = [cell.strip() for cell in controllers_table([found], 0.26).splitlines()[2].split("|")]
    assert cells[1:3] == ["lstm", "2"]
    assert cells[5] == "50"  # per cent of the oracle's gain
    assert cells[6].startswith("+2.0 [")
    assert cells[7:] == ["2.8", "100", "2.0", "1.0", "1.0", ""]


def test_the_verdict_names_every_learned_controller_once():
    better = row("up", episodes(0.45, 0.47, 0.56, 0.57))
    worse = row("down", episodes(0.35, 0.37, 0.44, 0.47))
    same = row("level", episodes(0.42, 0.41, 0.51, 0.51))
    rule = row("rule", episodes(0.99, 0.99, 0.99, 0.99), learned=False)
    said = schedule_verdict([rule, better, worse, same])
    assert "rule" not in said
    assert (
        said.index("better: up (+5.") < said.index("worse: down (-5.") < said.index("not shown to differ: level (+0.")
    )


def test_other_hosts_are_refused():
    with pytest.raises(ConfigError, match="other hosts"):
        row("lstm", episodes(0.4, 0.4, 0.4, 0.4, hosts=(11, 12, 13, 99)))
