"""The world behind GrowthEnv: hosts, seeds, lifecycles and episodes, and the order of events in one step.

Plain PyTorch, no TorchRL. One step is causal: apply the action, train every host one epoch, evaluate, advance the
lifecycle. What is paid and shown for it is decided elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tamiyo_trl.data import ImageTask
from tamiyo_trl.envs.growth.actions import action_name
from tamiyo_trl.envs.growth.config import GrowthConfig
from tamiyo_trl.envs.growth.episodes import UNGROUPED, Episodes, Numbering
from tamiyo_trl.envs.growth.hidden import Hidden
from tamiyo_trl.envs.growth.masks import germination_gate, joint_mask, why_illegal
from tamiyo_trl.envs.growth.readings import History, Readings
from tamiyo_trl.envs.growth.rewards import Outcome
from tamiyo_trl.errors import IllegalActionError
from tamiyo_trl.hosts import Evaluation, Fleet, HostConfig, OptimConfig
from tamiyo_trl.hosts.host_modules import host_maker
from tamiyo_trl.hosts.module_fleet import MODULES, ModuleFleet
from tamiyo_trl.seeds import Lifecycle, Stage
from tamiyo_trl.seeds.lifecycle import Op


def host_config(config: GrowthConfig, task: ImageTask) -> HostConfig:
    """Return the host for this task; small images halve their size by a strided first convolution, larger by pools."""
    halvings = ("stride", "pool") if config.image_size < 16 else ("pool",) * len(config.channels)
    return HostConfig(
        channels=config.channels,
        image_size=config.image_size,
        in_channels=task.channels,
        classes=task.classes,
        downsample=(halvings + ("none",) * len(config.channels))[: len(config.channels)],
    )


def make_fleet(config: GrowthConfig, task: ImageTask, n_hosts: int, device: torch.device) -> Fleet | ModuleFleet:
    """Return the hosts of a world, on the engine that its configuration names."""
    form, training = host_config(config, task), config.training
    optim = OptimConfig(momentum=training.momentum, weight_decay=training.weight_decay)
    if config.engine == MODULES:
        make = host_maker(config.host, form, config.blueprints)
        return ModuleFleet(make, n_hosts, precision=config.precision, optim=optim, device=device)
    return Fleet(form, n_hosts, engine=config.engine, precision=config.precision, optim=optim, device=device)


class World:
    """E hosts, each in an episode of its own.

    Attributes:
        lifecycle: Stages and timers of every site.
        readings: What the last step measured.
        shown: What a controller may know of it: where validation is measured now and then, the last reading.
        history: What is remembered of each episode.
        hidden: Deficit and seed qualities, which the controller has to find out.
        counts: Seeds "germinated", "fossilized" and "culled" so far in each episode, float32 [E] each.
        final_accuracy: Committed test accuracy of the hosts whose episode just ended, float32 [E]; 0 for others.
        paid_accuracy: What the last step was paid by: validation accuracy, and where an episode just ended accuracy on
            the reward split, float32 [E].
    """

    def __init__(
        self,
        config: GrowthConfig,
        n_hosts: int,
        root_seed: int,
        device: torch.device,
        numbering: Numbering = UNGROUPED,
    ) -> None:
        self.config, self.device = config, device
        self.episodes = Episodes(config, n_hosts, root_seed, device, numbering)
        self.fleet = make_fleet(config, self.episodes.task, n_hosts, device)
        n_sites = len(config.sites)
        self.lifecycle = Lifecycle(config.lifecycle, n_hosts, n_sites)
        self.readings = Readings.blank(n_hosts, n_sites)
        self.shown = self.readings.clone()
        self.history = History.blank(n_hosts, n_sites, len(config.blueprints))
        self.hidden = Hidden.blank(n_hosts, n_sites)
        self.counts = {name: torch.zeros(n_hosts) for name in ("germinated", "fossilized", "culled")}
        self.final_accuracy = torch.zeros(n_hosts)
        self.paid_accuracy = torch.zeros(n_hosts)

    @property
    def gate(self) -> Tensor:
        """Whether germination is open to each host, bool [E]."""
        config, step = self.config, self.readings.step
        return germination_gate(self.lifecycle, step, config.episode_steps, self.history, config.max_kept)

    @property
    def mask(self) -> Tensor:
        """The legal actions, bool [E, 4, S, K]."""
        return joint_mask(self.lifecycle, self.gate, len(self.config.blueprints))

    def begin(self, rows: Tensor) -> None:
        """Give the flagged hosts (bool [E]) a new episode and measure them before any training."""
        hosts = rows.nonzero().flatten().tolist()
        self.fleet.reset(hosts, self.episodes.begin(hosts))
        self.lifecycle.reset(rows)
        for host in hosts:
            self.hidden.begin(host, self.episodes.deficit_number(host))
        for count in self.counts.values():
            count[rows] = 0
        images = self.episodes.images
        result = self._evaluate_plainly(hosts, images["val_images"][hosts], images["val_labels"][hosts])
        fresh = Readings.blank(*self.lifecycle.stage.shape)
        for split in ("train", "val"):
            getattr(fresh, f"{split}_loss")[rows] = result.loss.cpu().float()
            getattr(fresh, f"{split}_accuracy")[rows] = result.accuracy.cpu().float()
        self.readings.assign(rows, fresh)
        self.shown.assign(rows, fresh)
        self.history.reset(rows, self.readings)
        self.paid_accuracy[rows] = self.readings.val_accuracy[rows]
        self.final_accuracy[rows] = 0.0

    def step(self, action: Tensor) -> Outcome:
        """Let one epoch pass under these actions, int64 [E, 3].

        Raises:
            IllegalActionError: the mask forbids one of them; nothing has happened then.
        """
        self._check_legal(action)
        before = self.readings.clone()
        self._act(action, self.shown)
        now = self._train(action)
        ended = now.step >= self.config.episode_steps
        self._commit(ended)
        self._evaluate(now)
        fault = ~self.fleet.finite.cpu()
        self.lifecycle.advance()
        now.stage, now.age = self.lifecycle.stage.clone(), self.lifecycle.age.clone()
        now.in_stage, now.alpha = self.lifecycle.in_stage.clone(), self.lifecycle.alpha.clone()
        now.blueprint = self.readings.blueprint.clone()
        shown = now.held(self.shown, now.step % self.config.val_every != 0)
        self.history.record(self.shown, shown)
        self._measure_final(ended & ~fault, now)
        self.readings, self.shown = now, shown
        return Outcome(before, now, self.paid_accuracy, self.history, ended, fault, self.fleet.host_parameters)

    # ---- one step, in order --------------------------------------------------------------------------------------

    def _check_legal(self, action: Tensor) -> None:
        mask, rows = self.mask, torch.arange(len(action))
        sizes = torch.tensor(mask.shape[1:])
        inside = ((action >= 0) & (action < sizes)).all(-1)
        safe = torch.where(inside[:, None], action, 0)
        legal = inside & mask[rows, safe[:, 0], safe[:, 1], safe[:, 2]]
        if legal.all():
            return
        host = int((~legal).nonzero()[0])
        triple = tuple(action[host].tolist())
        if not inside[host]:
            raise IllegalActionError(f"env {host}: action {triple} is outside of {tuple(sizes.tolist())}")
        reason = why_illegal(self.lifecycle, host, triple, self.config.max_kept)
        name = action_name(triple, self.config.blueprints)
        raise IllegalActionError(f"env {host}: {name} {triple} is illegal: {reason}")

    def _act(self, action: Tensor, before: Readings) -> None:
        for host in (action[:, 0] != int(Op.WAIT)).nonzero().flatten().tolist():
            op, site, kind = action[host].tolist()
            if op == Op.GERMINATE:
                self._germinate(host, site, kind, before)
                continue
            self.history.decide(host, site, int(before.blueprint[host, site]), before.val_accuracy[host])
            if op == Op.FOSSILIZE:
                self.lifecycle.move(host, site, Stage.FOSSILIZED)
                self.counts["fossilized"][host] += 1
            else:
                self._remove(host, site)
                self.counts["culled"][host] += 1

    def _germinate(self, host: int, site: int, kind: int, before: Readings) -> None:
        birth = self.episodes.seed_birth(host, self.config.blueprints[kind], int(self.counts["germinated"][host]))
        self.fleet.germinate(host, self.config.sites[site], birth)
        self.hidden.plant(host, site, birth)
        self.lifecycle.move(host, site, Stage.TRAINING)
        self.readings.blueprint[host, site] = kind
        self.history.plant(host, site, kind, before.val_accuracy[host])
        self.counts["germinated"][host] += 1

    def _remove(self, host: int, site: int) -> None:
        self.lifecycle.move(host, site, Stage.CULLED)
        self.fleet.remove(host, self.config.sites[site])
        self.hidden.clear(host, site)
        self.readings.blueprint[host, site] = -1

    def _train(self, action: Tensor) -> Readings:
        """Train every host one epoch; return readings that hold what training showed."""
        training, now = self.config.training, self.readings.clone()
        decay = (self.config.episode_steps - now.step) / max(self.config.episode_steps - training.decay_from, 1)
        lr = training.lr * decay.clamp(training.lr_floor, 1.0)
        self.fleet.set_blend(*self._blend())
        images = self.episodes.images
        stats = self.fleet.train_epoch(
            images["train_images"],
            images["train_labels"],
            self.episodes.next_order(self.config.images_per_step),
            batch_size=training.batch_size,
            lr=lr.to(self.device),
        )
        now.step = now.step + 1
        now.op = action[:, 0].clone()
        now.train_loss, now.train_accuracy = stats.loss.cpu().float(), stats.accuracy.cpu().float()
        now.host_grad_norm = stats.host_grad_norm.cpu().float()
        norms = stats.seed_grad_norm.cpu().float()[:, list(self.config.sites)]
        now.seed_grad_norm = torch.where(self.lifecycle.is_live, norms, 0.0).sum(-1)
        return now

    def _commit(self, ended: Tensor) -> None:
        """Remove what was not fossilized from the hosts whose episode is over."""
        for host, site in (self.lifecycle.is_live & ended[:, None]).nonzero().tolist():
            self._remove(host, site)

    def _evaluate(self, now: Readings) -> None:
        """Measure the validation split, with the live seed's counterfactual."""
        live = self.lifecycle.is_live
        has_live = live.any(-1)
        blocks = torch.where(has_live, torch.tensor(self.config.sites)[live.long().argmax(-1)], -1)
        images = self.episodes.images
        result = self.fleet.evaluate(images["val_images"], images["val_labels"], blocks.to(self.device))
        now.val_loss, now.val_accuracy = result.loss.cpu().float(), result.accuracy.cpu().float()
        incubating = (live & (self.lifecycle.stage == int(Stage.TRAINING))).any(-1)
        difference = now.val_accuracy - result.counterfactual_accuracy.cpu().float()
        now.contribution = torch.where(incubating, -difference, difference) * has_live
        now.has_contribution = has_live
        now.added_parameters = self.fleet.parameter_counts().sum(-1).cpu().float()

    def _measure_final(self, ended: Tensor, now: Readings) -> None:
        """Measure the committed networks on the reward and the test split where an episode ended."""
        self.final_accuracy, self.paid_accuracy = torch.zeros(len(ended)), now.val_accuracy.clone()
        if not ended.any():
            return
        hosts = ended.nonzero().flatten().tolist()
        result = self._evaluate_plainly(hosts, *self.episodes.test_split(hosts))
        self.final_accuracy[ended] = result.accuracy.cpu().float()
        if self.config.splits.reward:
            result = self._evaluate_plainly(hosts, *self.episodes.reward_split(hosts))
            self.paid_accuracy[ended] = result.accuracy.cpu().float()

    def _evaluate_plainly(self, hosts: list[int], images: Tensor, labels: Tensor) -> Evaluation:
        """Evaluate some hosts without a counterfactual."""
        return self.fleet.select(hosts).evaluate(images, labels, torch.full((len(hosts),), -1, device=self.device))

    def _blend(self) -> tuple[Tensor, Tensor]:
        """Alpha float32 and incubating bool of every host block, [E, blocks] each."""
        shape = (len(self.final_accuracy), len(self.config.channels))
        alpha, incubating = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
        sites = list(self.config.sites)
        # A dud is heard by no one and learns from no one, so that its host is what it would be without it.
        takes = ~self.hidden.is_dud
        alpha[:, sites] = self.lifecycle.alpha * takes
        incubating[:, sites] = (self.lifecycle.stage == int(Stage.TRAINING)) & takes
        return alpha.to(self.device), incubating.to(self.device)

    # ---- state is data -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the whole live state: hosts, seeds, lifecycles, histories, episodes and their random streams."""
        return {
            "fleet": self.fleet.state_dict(),
            "lifecycle": self.lifecycle.state_dict(),
            "readings": vars(self.readings.clone()),
            "shown": vars(self.shown.clone()),
            "history": {name: value.clone() for name, value in vars(self.history).items()},
            "hidden": vars(self.hidden.clone()),
            "episodes": self.episodes.state_dict(),
            "counts": {name: value.clone() for name, value in self.counts.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the next step gives the numbers it would have given."""
        self.fleet.load_state_dict(state["fleet"])
        self.lifecycle.load_state_dict(state["lifecycle"])
        self.readings = Readings(**state["readings"]).clone()
        self.shown = Readings(**state["shown"]).clone()
        self.history = History(**{name: value.clone() for name, value in state["history"].items()})
        self.hidden = Hidden(**state["hidden"]).clone()
        self.episodes.load_state_dict(state["episodes"])
        self.counts = {name: value.clone() for name, value in state["counts"].items()}
