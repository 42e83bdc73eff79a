"""Grow networks that no controller was trained on, in a plain training loop, and compare who decides.

    python recipes/grow_your_model.py                         # small form: 8 seeds of each network, real digits 16x16
    python recipes/grow_your_model.py --seeds 2 --epochs 12   # a look
    python recipes/grow_your_model.py --task cifar10          # where the data are on disk

A residual CNN and an MLP, each with three growth sites, are trained by AdamW on images, once for each arm: never-grow,
the best fixed schedule (chosen on seeds of its own), the heuristic, chance, and the controllers that come with the
package. Arms of one seed share initial weights, data and data order. Writes arms.csv, report.md and timelines to --out.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from tamiyo_trl.data import Corruption, DataSource, SplitSizes
from tamiyo_trl.data.images import EpisodeImages
from tamiyo_trl.data.tasks import make_task
from tamiyo_trl.errors import ConfigError, TamiyoError
from tamiyo_trl.evaluation.statistics import estimate, paired
from tamiyo_trl.files import write_rows
from tamiyo_trl.grow import Grower, GrowthSite, GrowthSpace, load_controller
from tamiyo_trl.policies import FixedSchedule, Heuristic, NeverGrow, RandomLegal
from tamiyo_trl.policies.baselines import Planting
from tamiyo_trl.seeding import derive_seed, generator

HEADER = ("arm", "test accuracy %", "points over never-grow", "added parameters", "planted", "kept", "culled")
COLUMNS = ("network", "arm", "seed", "test_accuracy", "added_parameters", "germinated", "fossilized", "culled")
PLANT_AT, TUNING_SEEDS = 3, (1_000_000, 1_000_001)
MINIMAL, SNAPSHOT = GrowthSpace(), GrowthSpace(observation="snapshot")


@dataclass(frozen=True)
class Args:
    """Grow networks that no controller was trained on.

    Attributes:
        task: "digits" (embedded), "templates", or "cifar10" (from disk).
        image_size: Edge of the images in pixels.
        seeds: Seeds of each network; arms are paired by seed.
        epochs: Epochs of each training.
        train_images: Distinct training images.
        out: Folder of the results.
    """

    task: str = "digits"
    image_size: int = 16
    seeds: int = 8
    epochs: int = 25
    train_images: int = 512
    out: Path = Path("runs/grow_your_model")

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.train_images < 32:
            raise ConfigError(f"seeds must be at least 2 and train_images 32: got {self.seeds}, {self.train_images}")


# ---- the networks: anybody's, with sites where they may grow ---------------------------------------------------------


class ResidualBlock(nn.Module):
    """Two convolutions beside a projection, at half the size."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False), nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.short = nn.Conv2d(c_in, c_out, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activation."""
        return torch.relu(self.short(x) + self.norm2(self.two(torch.relu(self.norm1(self.one(x))))))


class ResidualCNN(nn.Module):
    """A narrow residual network; a site after the stem and after each block."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.stem, self.norm, self.site0 = nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), GrowthSite(6)
        self.block1, self.site1 = ResidualBlock(6, 8), GrowthSite(8)
        self.block2, self.site2 = ResidualBlock(8, 12), GrowthSite(12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, 10] of images [B, C, H, W]."""
        x = self.site0(torch.relu(self.norm(self.stem(x))))
        x = self.site2(self.block2(self.site1(self.block1(x))))
        return self.head(x.mean((2, 3)))


class MLP(nn.Module):
    """A narrow MLP; a site after each hidden layer."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        inputs = channels * image_size**2
        self.in0, self.site0 = nn.Linear(inputs, 24), GrowthSite(24, form="features")
        self.in1, self.site1 = nn.Linear(24, 24), GrowthSite(24, form="features")
        self.in2, self.site2 = nn.Linear(24, 24), GrowthSite(24, form="features")
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, 10] of images [B, C, H, W]."""
        x = self.site0(torch.relu(self.in0(x.flatten(1))))
        x = self.site1(torch.relu(self.in1(x)))
        return self.head(self.site2(torch.relu(self.in2(x))))


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {"residual CNN": ResidualCNN, "MLP": MLP}


# ---- a plain training loop -------------------------------------------------------------------------------------------


def train_one_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, rng: torch.Generator
) -> tuple[float, float]:
    """Train one epoch; return mean loss and accuracy."""
    model.train()
    loss_sum, hits = 0.0, 0.0
    for pick in torch.randperm(len(labels), generator=rng).split(32):
        optimizer.zero_grad()
        logits = model(images[pick])
        loss = F.cross_entropy(logits, labels[pick])
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(pick)
        hits += (logits.argmax(1) == labels[pick]).sum().item()
    return loss_sum / len(labels), hits / len(labels)


@torch.no_grad()
def validate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean loss and accuracy."""
    model.eval()
    logits = model(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def train(network: str, make: Callable[[], Any], space: GrowthSpace, seed: int, args: Args) -> tuple[float, Grower]:
    """Train one network under one controller; return its test accuracy and the Grower."""
    data = draw(args, seed)
    channels = data.train_images.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network"))
        model = NETWORKS[network](channels, args.image_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    rng = generator(seed, "order")
    grower = Grower(
        model,
        optimizer,
        make(),
        epochs=args.epochs,
        space=space,
        evaluate=lambda model: validate(model, data.val_images, data.val_labels)[1],
        seed=seed,
    )
    for _ in range(args.epochs):
        train_loss, train_accuracy = train_one_epoch(model, optimizer, data.train_images, data.train_labels, rng)
        schedule.step()
        val_loss, val_accuracy = validate(model, data.val_images, data.val_labels)
        grower.step(train_loss=train_loss, train_accuracy=train_accuracy, val_loss=val_loss, val_accuracy=val_accuracy)
    return validate(grower.finish(), data.test_images, data.test_labels)[1], grower


def draw(args: Args, seed: int) -> EpisodeImages:
    """Return one seed's images; validation decides, the test split is only measured at the end."""
    task = make_task(args.task, args.image_size, DataSource())
    return task.draw(derive_seed(seed, "images"), SplitSizes(args.train_images, 512, 1024, 0), Corruption())


# ---- arms ------------------------------------------------------------------------------------------------------------


def arms_of(network: str, args: Args) -> dict[str, tuple[Callable[[], Any], GrowthSpace]]:
    """Return what makes each arm's controller, and what it knows; the fixed schedule is chosen here."""
    site, kind = best_schedule(network, args)
    name = f"fixed: {MINIMAL.blueprints[kind]} at site {site}"
    return {
        "never-grow": (NeverGrow, MINIMAL),
        name: (lambda: FixedSchedule(MINIMAL, args.epochs, [Planting(PLANT_AT, site, kind)]), MINIMAL),
        "heuristic": (lambda: Heuristic(SNAPSHOT), SNAPSHOT),
        "random": (lambda: RandomLegal(0), MINIMAL),
        "lstm-minimal": (lambda: load_controller("lstm-minimal"), MINIMAL),
        "mlp-minimal": (lambda: load_controller("mlp-minimal"), MINIMAL),
    }


def best_schedule(network: str, args: Args) -> tuple[int, int]:
    """Return the (site, blueprint) that does best on seeds of its own, planted at a fixed epoch."""
    forms = {
        module.form for module in NETWORKS[network](1, args.image_size).modules() if isinstance(module, GrowthSite)
    }
    kinds = [k for k, name in enumerate(MINIMAL.blueprints) if "map" in forms or name in ("norm", "attention", "wide")]
    scores: dict[tuple[int, int], float] = {}
    for site in range(3):
        for kind in kinds:
            make = partial(FixedSchedule, MINIMAL, args.epochs, [Planting(PLANT_AT, site, kind)])
            accuracies = [train(network, make, MINIMAL, seed, args)[0] for seed in TUNING_SEEDS]
            scores[site, kind] = sum(accuracies) / len(accuracies)
    return max(scores, key=lambda choice: scores[choice])


def row_of(network: str, arm: str, seed: int, accuracy: float, grower: Grower) -> dict[str, Any]:
    """Return one training as a row of the table."""
    ops = [step.action[0] for step in grower.steps]
    counts = {name: ops.count(op) for op, name in ((1, "germinated"), (2, "fossilized"), (3, "culled"))}
    added = sum(p.numel() for p in grower.model.parameters()) - grower.host_parameters
    return {
        "network": network,
        "arm": arm,
        "seed": seed,
        "test_accuracy": accuracy,
        "added_parameters": added,
        **counts,
    }


def run(args: Args) -> None:
    """Train everything, and write the table, the pictures and the report."""
    started, rows = time.perf_counter(), []
    args.out.mkdir(parents=True, exist_ok=True)
    for network in NETWORKS:
        for arm, (make, space) in arms_of(network, args).items():
            for seed in range(args.seeds):
                accuracy, grower = train(network, make, space, seed, args)
                rows.append(row_of(network, arm, seed, accuracy, grower))
                if seed == 0 and arm in ("heuristic", "lstm-minimal", "mlp-minimal"):
                    grower.plot(args.out / picture_of(network, arm), f"{network}, {arm}, seed 0")
            print(f"{network}: {arm} done after {time.perf_counter() - started:.0f} s", flush=True)
    write_rows(args.out / "arms.csv", rows, COLUMNS)
    minutes = (time.perf_counter() - started) / 60
    (args.out / "report.md").write_text(report(rows, args, minutes))
    print((args.out / "report.md").read_text())


def picture_of(network: str, arm: str) -> str:
    """Return the file name of an arm's timeline."""
    return f"timeline-{network.split()[-1].lower()}-{arm}.png"


def report(rows: Sequence[Mapping[str, Any]], args: Args, minutes: float) -> str:
    """Return the page: a table for each network, and how it was made."""
    lines = ["# Networks that no controller was trained on", ""]
    for network in NETWORKS:
        own = [row for row in rows if row["network"] == network]
        base = [row["test_accuracy"] for row in own if row["arm"] == "never-grow"]
        lines += [
            f"## {network}",
            "",
            "| arm | test accuracy % | points over never-grow | added | planted | kept | culled |",
        ]
        lines += ["|---|---|---|---|---|---|---|"]
        for arm in dict.fromkeys(row["arm"] for row in own):
            mine = [row for row in own if row["arm"] == arm]
            final = [row["test_accuracy"] for row in mine]
            counts = [
                f"{sum(row[name] for row in mine) / len(mine):,.{0 if name == 'added_parameters' else 1}f}"
                for name in COLUMNS[4:]
            ]
            level, gain = estimate(final), paired(final, base)
            cells = [
                arm,
                f"{100 * level.mean:.1f} [{100 * level.low:.1f}, {100 * level.high:.1f}]",
                f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
                *counts,
            ]
            lines.append(f"| {' | '.join(cells)} |")
        pictures = [picture_of(network, arm) for arm in ("heuristic", "lstm-minimal", "mlp-minimal")]
        lines += ["", *(f"![{network}]({name})" for name in pictures), ""]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchrl"))
    lines += [
        f"{args.seeds} seeds a network and arm, paired: same initial weights, images ({args.task}, "
        f"{args.image_size}x{args.image_size}, {args.train_images} for training) and order. 95% percentile bootstrap "
        "intervals. The fixed schedule is the best single planting on two seeds of its own; the controllers were "
        "trained on other networks (see their cards). Validation decides, test is measured once at the end.",
        "",
        f"`python recipes/grow_your_model.py --task {args.task} --image-size {args.image_size} --seeds {args.seeds} "
        f"--epochs {args.epochs} --train-images {args.train_images}`: {minutes:.1f} minutes on one thread, "
        f"{platform.machine()}, python {platform.python_version()}, {packages}.",
        "",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run the recipe; return the exit status."""
    try:
        torch.set_num_threads(1)
        run(tyro.cli(Args, args=list(argv), description=__doc__))
    except TamiyoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
