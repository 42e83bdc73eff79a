"""The page about growing: its example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD

from tamiyo_trl.grow import GrowthSite
from tests.grow.nets import batch, train_one_epoch, validate

PAGE = Path(__file__).parents[2] / "docs" / "grow.md"


def test_the_pages_example_runs_and_leaves_a_plain_module(capsys: Any) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    network, loop = code.split("grower = ", 1)
    names: dict[str, Any] = {}
    exec(network, names)
    names["model"] = names["Net"]()
    names |= {"optimizer": SGD(names["model"].parameters(), lr=0.05), "loader": 0, "validate": validate}
    names["train_one_epoch"] = train_one_epoch
    exec("grower = " + loop, names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [f"{epoch}/25" for epoch in range(1, 26)]
    assert not any(isinstance(module, GrowthSite) for module in names["model"].modules())
    assert names["model"](batch(0)[0]).shape == (16, 10)
    assert torch.isfinite(names["model"](batch(0)[0])).all()
