"""Two processes that train one model together grow it alike."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.grow import Grower
from tamiyo_trl.policies import RandomLegal
from tests.grow.nets import make_net, train_one_epoch, validate

EPOCHS = 12


def work(rank: int, folder: Path, port: int) -> None:
    """Train on data of one's own, with a random controller, and write what came of it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    net = make_net()
    wrapped = DistributedDataParallel(net)
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    try:
        Grower(wrapped, optimizer, RandomLegal(1), epochs=EPOCHS)
        refused = ""
    except ConfigError as error:
        refused = str(error)
    # Each has a random stream of its own: that they act alike is the Grower's doing.
    grower = Grower(net, optimizer, RandomLegal(rank + 1), epochs=EPOCHS)
    own_losses = []
    for epoch in range(1, EPOCHS + 1):
        train_loss, train_accuracy = train_one_epoch(wrapped, optimizer, 100 * rank + epoch)
        val_loss, val_accuracy = validate(net)
        own_losses.append(train_loss)
        step = grower.step(
            train_loss=train_loss, train_accuracy=train_accuracy, val_loss=val_loss, val_accuracy=val_accuracy
        )
        if step.changed:
            wrapped = DistributedDataParallel(net)
    told = {
        "refused": refused,
        "losses": own_losses,
        "shared": [step.measured.train_loss for step in grower.steps],
        "actions": [list(step.action) for step in grower.steps],
        "weights": [float(p.double().sum()) for p in net.parameters()],
    }
    (folder / f"{rank}.json").write_text(json.dumps(told))
    dist.barrier()  # who leaves first would take the meeting place with him
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
def test_all_processes_act_alike_and_train_one_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.grow.test_distributed"]
    where = [str(tmp_path), str(free_port())]
    workers = [subprocess.Popen([*command, str(rank), *where], env=dict(os.environ)) for rank in range(2)]
    try:
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert "give the Grower the model inside" in told[0]["refused"]
    assert told[0]["losses"] != told[1]["losses"]
    assert told[0]["shared"] == told[1]["shared"]
    assert told[0]["shared"] == pytest.approx([(a + b) / 2 for a, b in zip(told[0]["losses"], told[1]["losses"])])
    assert told[0]["actions"] == told[1]["actions"]
    assert any(op == 1 for op, _, _ in told[0]["actions"])
    assert told[0]["weights"] == told[1]["weights"]


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
