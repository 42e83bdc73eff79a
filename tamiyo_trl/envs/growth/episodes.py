"""Which episode each host is in, and everything drawn for it: deficit, images, data order, births of host and seeds.

Host e's k-th episode has the seed derived from (root seed, number of e, k); all draws are functions of that seed
alone, so the state to be kept is three numbers and a data order per host, and images are drawn again when needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tamiyo_trl.data import DataOrder, EpisodeImages, SplitSizes
from tamiyo_trl.data.tasks import make_task
from tamiyo_trl.envs.growth.config import GrowthConfig
from tamiyo_trl.envs.growth.family import Deficit, make_family
from tamiyo_trl.hosts import HostBirth
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds.blueprints import SeedBirth

_STACKED = ("train_images", "train_labels", "val_images", "val_labels")


@dataclass(frozen=True)
class Numbering:
    """Which hosts of the root seed these are: from number `first` on, each played by `group` neighbours."""

    first: int = 0
    group: int = 1

    def of(self, host: int) -> int:
        """Return the number that the host's episodes are drawn by."""
        return (self.first + host) // self.group


UNGROUPED = Numbering()


class Episodes:
    """The present episode of each of E hosts.

    Attributes:
        seed: Seed of each host's episode, int64 [E].
        images: What hosts train and are validated on: "train_images" [E, n, C, H, W], "train_labels" [E, n], and
            "val_images", "val_labels" alike.
    """

    def __init__(
        self,
        config: GrowthConfig,
        n_hosts: int,
        root_seed: int,
        device: torch.device,
        numbering: Numbering = UNGROUPED,
    ) -> None:
        self.task = make_task(config.task, config.image_size, config.data)
        self.family = make_family(config.family, config.image_size, config.task)
        self._splits: SplitSizes = config.splits
        self.root_seed, self._device, self._numbering = root_seed, device, numbering
        self.number = torch.full((n_hosts,), -1)
        self.seed = torch.zeros(n_hosts, dtype=torch.long)
        self.images: dict[str, Tensor] = {}
        self._drawn: dict[int, EpisodeImages] = {}
        self._orders = [DataOrder(0, 1) for _ in range(n_hosts)]

    def restart(self, root_seed: int) -> None:
        """Give the coming episodes another root; the present ones go on."""
        self.root_seed = root_seed
        self.number.fill_(-1)

    def begin(self, hosts: list[int]) -> list[HostBirth]:
        """Start the next episode of these hosts; return how the hosts are born."""
        births = []
        for host in hosts:
            self.number[host] += 1
            seed = derive_seed(self.root_seed, "episode", self._numbering.of(host), int(self.number[host]))
            self.seed[host] = seed
            self._orders[host] = DataOrder(derive_seed(seed, "order"), self._draw_images(host).pool)
            deficit = self.deficit(host)
            births.append(
                HostBirth(
                    seed=derive_seed(seed, "host"),
                    lr_scale=deficit.lr_scale,
                    stuck_block=deficit.stuck_block,
                    alive_channels=deficit.alive_channels,
                )
            )
        return births

    def deficit_number(self, host: int) -> int:
        """Return the number of the host's hidden deficit in its family."""
        return self.family.deficit(int(self.seed[host]))

    def deficit(self, host: int) -> Deficit:
        """Return the host's hidden deficit."""
        return self.family.deficits[self.deficit_number(host)]

    def seed_birth(self, host: int, blueprint: str, germination: int) -> SeedBirth:
        """Return how the episode's `germination`-th seed is born, its hidden quality included."""
        seed = int(self.seed[host])
        quality = self.family.seed_quality(seed, germination)
        return SeedBirth(
            blueprint=blueprint,
            seed=derive_seed(seed, "seed", germination),
            init_scale=quality.init_scale,
            lr_scale=quality.lr_scale,
            dead_share=quality.dead_share,
        )

    def next_order(self, count: int) -> Tensor:
        """Return the next `count` training image numbers of every host, int64 [E, count]."""
        return torch.stack([order.next(count) for order in self._orders]).to(self._device)

    def test_split(self, hosts: list[int]) -> tuple[Tensor, Tensor]:
        """Return these hosts' test images, [n, V, C, H, W], and labels, [n, V]."""
        return self._stack("test", hosts)

    def reward_split(self, hosts: list[int]) -> tuple[Tensor, Tensor]:
        """Return these hosts' images for the last step's reward, [n, V, C, H, W], and labels, [n, V]."""
        return self._stack("reward", hosts)

    def _stack(self, split: str, hosts: list[int]) -> tuple[Tensor, Tensor]:
        images, labels = (
            torch.stack([getattr(self._drawn[host], f"{split}_{part}") for host in hosts]).to(self._device)
            for part in ("images", "labels")
        )
        return images, labels

    def _draw_images(self, host: int) -> EpisodeImages:
        """Draw the images of this host's episode and lay them beside the others'."""
        seed = derive_seed(int(self.seed[host]), "images")
        drawn = self.task.draw(seed, self._splits, self.deficit(host).corruption)
        self._drawn[host] = drawn
        for name in _STACKED:
            value: Tensor = getattr(drawn, name)
            if name not in self.images:
                shape = (len(self.seed), *value.shape)
                self.images[name] = torch.zeros(shape, dtype=value.dtype, device=self._device)
            self.images[name][host] = value.to(self._device)
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Return everything the coming steps and episodes depend on; images are drawn again on loading."""
        return {
            "root_seed": self.root_seed,
            "number": self.number.clone(),
            "seed": self.seed.clone(),
            "orders": [order.state_dict() for order in self._orders],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.root_seed, self.number, self.seed = state["root_seed"], state["number"].clone(), state["seed"].clone()
        for host, order in enumerate(state["orders"]):
            self._orders[host].load_state_dict(order)
            if self.number[host] >= 0:
                self._draw_images(host)
