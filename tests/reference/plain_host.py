"""One host with its seeds as ordinary modules, trained alone with torch.optim: the slow twin of a fleet's row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamiyo_trl.hosts import HostBirth, HostConfig, OptimConfig
from tamiyo_trl.seeds.blueprints import SeedBirth
from tamiyo_trl.seeds.factories import factory_of
from tamiyo_trl.seeds.twins import module_tensor

UNITS = {  # the parameters whose leading axis is the blueprint's units; the first tells a dead unit by its zeros
    "norm": ("norm.weight", "norm.bias"),
    "attention": ("down",),
    "depthwise": ("depth",),
    "conv_light": ("conv", "norm.weight", "norm.bias"),
    "conv_heavy": ("conv1", "norm1.weight", "norm1.bias"),
    "wide": ("conv", "norm.weight", "norm.bias"),
    "lossy": ("down",),
}


class PlainHost(nn.Module):
    """The host: blocks of conv -> downsample -> norm -> ReLU, a seed (or none) after each, mean, linear."""

    def __init__(self, config: HostConfig) -> None:
        super().__init__()
        self.kinds = config.downsample
        ins = (config.in_channels, *config.channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2 if kind == "stride" else 1, padding=1, bias=False)
            for i, o, kind in zip(ins, config.channels, config.downsample)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in config.channels)
        self.head = nn.Linear(config.channels[-1], config.classes)
        self.seeds: dict[int, PlainSeed] = {}

    def forward(self, x: Tensor, switched: int | None = None, keep: set[int] | None = None) -> Tensor:
        """Return logits; the seed at `switched` is switched (off, or on if incubating); `keep`: sites that act."""
        for site, (conv, norm, kind) in enumerate(zip(self.convs, self.norms, self.kinds)):
            x = conv(x)
            if kind == "pool":
                x = F.max_pool2d(x, 2)
            x = torch.relu(norm(x))
            if site in self.seeds and (keep is None or site in keep):
                x = self.seeds[site].blend(x, switched=site == switched)
        return self.head(x.mean((2, 3)))


class PlainSeed:
    """A seed's module, its blend and its own optimiser."""

    def __init__(self, module: nn.Module, birth: SeedBirth, optim: OptimConfig) -> None:
        self.module, self.birth = module, birth
        self.alpha, self.incubating = 0.0, True
        self.sgd = torch.optim.SGD(
            module.parameters(), lr=0.0, momentum=optim.momentum, weight_decay=optim.weight_decay
        )

    def blend(self, h: Tensor, switched: bool) -> Tensor:
        if switched:
            return self.module(h) if self.incubating else h
        if self.incubating:
            if not self.module.training:
                return h
            s = self.module(h.detach())
            return h + (s - s.detach())
        return (1 - self.alpha) * h + self.alpha * self.module(h)


class PlainTrainer:
    """Trains one PlainHost. `weights` are name -> tensor as `Fleet.named_host` and `named_seed` give them."""

    def __init__(self, config: HostConfig, birth: HostBirth, weights: dict[str, Tensor], optim: OptimConfig) -> None:
        self.host, self.birth, self.optim = PlainHost(config).to(weights["conv0"].dtype), birth, optim
        for name, tensor in weights.items():
            self.parameter(name).data.copy_(tensor)
        if birth.stuck_block is not None:
            self.host.convs[birth.stuck_block].weight.requires_grad_(False)
        free = [p for p in self.host.parameters() if p.requires_grad]
        self.sgd = torch.optim.SGD(free, lr=0.0, momentum=optim.momentum, weight_decay=optim.weight_decay)

    def parameter(self, name: str) -> Tensor:
        """Return the module tensor that the fleet calls `name` (conv0, norm0.weight, norm0.mean, head.bias, ...)."""
        kind, _, part = name.partition(".")
        if kind == "head":
            return getattr(self.host.head, part)
        index = int(kind.removeprefix("conv").removeprefix("norm"))
        if kind.startswith("conv"):
            return self.host.convs[index].weight
        return getattr(self.host.norms[index], {"mean": "running_mean", "var": "running_var"}.get(part, part))

    def seed_parameter(self, site: int, name: str) -> Tensor:
        """Return the module tensor that the fleet calls `name` in a seed."""
        return module_tensor(self.host.seeds[site].module, name)

    def germinate(self, site: int, birth: SeedBirth, channels: int, weights: dict[str, Tensor]) -> None:
        module = factory_of(birth.blueprint, "map")(channels).to(next(iter(weights.values())).dtype)
        self.host.seeds[site] = PlainSeed(module, birth, self.optim)
        for name, tensor in weights.items():
            mine = self.seed_parameter(site, name)
            mine.data.copy_(tensor.reshape(mine.shape))
        if birth.dead_share:
            self._freeze_dead_units(site, birth.blueprint)

    def _freeze_dead_units(self, site: int, blueprint: str) -> None:
        """Stop training the units that were born zero."""
        names = UNITS[blueprint]
        first = self.seed_parameter(site, names[0])
        alive = first.detach().flatten(1).any(1) if first.dim() > 1 else first.detach() != 0
        for name in names:
            mine = self.seed_parameter(site, name)
            mask = alive.view(-1, *[1] * (mine.dim() - 1))
            mine.register_hook(lambda g, mask=mask: g * mask)

    def step(self, images: Tensor, labels: Tensor, lr: float) -> tuple[float, float, float, dict[int, float]]:
        """Take one step; return loss, accuracy, host gradient norm and each seed's gradient norm."""
        self.host.train()
        optimisers = [(self.sgd, self.birth.lr_scale)]
        for seed in self.host.seeds.values():
            seed.module.train()
            optimisers.append((seed.sgd, seed.birth.lr_scale))
        for sgd, scale in optimisers:
            sgd.zero_grad(set_to_none=True)
            for group in sgd.param_groups:
                group["lr"] = lr * scale
        logits = self.host(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        norm = gradient_norm(self.host.parameters())
        seed_norms = {s: gradient_norm(seed.module.parameters()) for s, seed in self.host.seeds.items()}
        for sgd, _ in optimisers:
            sgd.step()
        return loss.item(), (logits.argmax(1) == labels).float().mean().item(), norm, seed_norms

    @torch.no_grad()
    def measure(
        self, images: Tensor, labels: Tensor, switched: int | None = None, keep: set[int] | None = None
    ) -> tuple[float, float]:
        """Return loss and accuracy in evaluation mode."""
        self.host.eval()
        for seed in self.host.seeds.values():
            seed.module.eval()
        logits = self.host(images, switched, keep)
        return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def gradient_norm(parameters: object) -> float:
    """Return the norm of all gradients together."""
    return sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None) ** 0.5  # type: ignore[attr-defined]
