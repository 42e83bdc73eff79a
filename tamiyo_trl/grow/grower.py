"""Grower: lets a controller decide when somebody's own model grows, in their own training loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.grow.choosers import Controller, make_chooser
from tamiyo_trl.grow.ledger import Ledger, Measured
from tamiyo_trl.grow.measurements import checked, from_first, shared_mean
from tamiyo_trl.grow.model import Garden
from tamiyo_trl.grow.optimiser import GradientNorms, Membership
from tamiyo_trl.grow.plot import GrowthStep, Row, draw, name_of
from tamiyo_trl.grow.seat import Action
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.grow.trained import TrainedController
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op

Measure = Callable[[nn.Module], float]
WAIT: Action = (0, 0, 0)


class Grower:
    """Watches a model train, one `step` an epoch, and grows it as its controller says.

    The model says where it may grow by holding `GrowthSite`s. Seeds are modules of the model and parameters of the
    optimiser like any others: schedulers, clipping, mixed precision and checkpoints need nothing special.

    Args:
        model: Holds at least one GrowthSite; not wrapped for DDP (wrap it after, and again whenever a step `changed`).
        optimizer: Trains the model.
        controller: A trained controller, a baseline or other policy, or a rule of your own: a function of what is seen
            (column name -> value) and the legal actions (bool [ops, S, K]) that returns (op, site, blueprint).
        epochs: Length of the training; `step` is called after each.
        space: What a controller that was not trained knows; a trained one brings its own.
        evaluate: Returns the model's validation accuracy, a fraction; called once more an epoch while a seed is live,
            for controllers that read what the seed contributes.
        sites: Names of the sites to use, where the model has more than the controller knows; all where empty.
        seed_group: Number of the optimiser's parameter group that seeds join.
        seed: Root of the seeds' initial weights and of the controller's samples.

    Attributes:
        steps: What was measured and chosen, epoch by epoch.

    Raises:
        ConfigError: the model, optimiser, controller and measurements do not fit each other; nothing was changed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        controller: Controller,
        *,
        epochs: int,
        space: GrowthSpace = GrowthSpace(),  # noqa: B008 - frozen
        evaluate: Measure | None = None,
        sites: Sequence[str] = (),
        seed_group: int = 0,
        seed: int = 0,
    ) -> None:
        self._garden = Garden(model, sites, seed)
        if isinstance(controller, TrainedController):
            space = controller.space
        elif not callable(controller):
            raise ConfigError(f"controller must be a trained one, a policy or a function: got {controller!r}")
        available = self._garden.available(space)
        if epochs < space.lifecycle.life_steps:
            raise ConfigError(f"epochs must hold one seed life of {space.lifecycle.life_steps}: got {epochs}")
        if space.reads("contribution") and evaluate is None:
            raise ConfigError(
                f"the observation {space.observation!r} shows what a seed contributes: give evaluate=, a function that "
                "returns the model's validation accuracy, or take a controller of another observation"
            )
        self._members = Membership(optimizer, seed_group)
        self._members.check_trains(model)
        self._evaluate, self._reads_contribution = evaluate, space.reads("contribution")
        self._ledger = Ledger(space, epochs, self._garden.parameters, available)
        self._choose = make_chooser(controller, space, seed)
        reads_norms = space.reads("host_grad_norm") or space.reads("seed_grad_norm")
        self._norms = GradientNorms(optimizer, self._gradient_groups) if reads_norms else None
        self._finished = False
        self.steps: list[GrowthStep] = []

    @property
    def model(self) -> nn.Module:
        """The model that grows."""
        return self._garden.model

    @property
    def host_parameters(self) -> int:
        """Parameters of the model without seeds."""
        return self._garden.parameters

    @property
    def history(self) -> list[Row]:
        """The table of all epochs, a row each: `pandas.DataFrame(grower.history)`."""
        return [step.row for step in self.steps]

    # ---- the loop ------------------------------------------------------------------------------------------------

    def begin(self, *, val_loss: float | None = None, val_accuracy: float | None = None) -> GrowthStep:
        """Let the controller choose before the first epoch too, as it did in training; calling this is optional.

        Raises:
            ConfigError: the training has begun, or a measurement is not as `step` wants it.
        """
        if self._ledger.begun or self._finished:
            raise ConfigError("begin comes before the first step")
        told = checked({"val_loss": val_loss, "val_accuracy": val_accuracy})
        told = shared_mean(told, self._garden.device)
        loss, accuracy = told["val_loss"], told["val_accuracy"]
        books = copy.deepcopy(self._ledger)
        measured = Measured(loss, accuracy, loss, accuracy)
        books.begin(measured)
        return self._decide(books, measured)

    def step(
        self,
        *,
        train_loss: float | None = None,
        train_accuracy: float | None = None,
        val_loss: float | None = None,
        val_accuracy: float | None = None,
    ) -> GrowthStep:
        """Take in what an epoch measured, and grow the model for the next one; call it after each epoch.

        Losses are means in nats, accuracies fractions 0..1; under torch.distributed each process gives its own and
        their mean counts. After the last epoch nothing is chosen.

        Raises:
            ConfigError: a measurement is missing, not finite or a percentage; no training went before, or not through
                every site; the training is over. The model and the Grower are as they were.
            IllegalActionError: a rule of your own chose what is not legal; the same holds.
        """
        books = copy.deepcopy(self._ledger)
        if self._finished or books.epoch >= books.epochs:
            raise ConfigError(
                f"step was called after {'finish' if self._finished else f'epoch {books.epochs}, the last'}"
            )
        told = checked(
            {
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
            }
        )
        self._garden.check_trained()
        told = shared_mean(told, self._garden.device)
        contribution = self._contribution(told["val_accuracy"])
        norms = self._norms.means if self._norms else (0.0, 0.0)
        measured = Measured(**told, contribution=contribution, host_grad_norm=norms[0], seed_grad_norm=norms[1])
        books.record(measured, self._garden.added_parameters)
        return self._decide(books, measured)

    def finish(self) -> nn.Module:
        """Remove undecided seeds and the sites themselves; return the model, now a plain nn.Module.

        A kept seed takes its site's place, `nn.Identity` that of an empty one. Calling it again does nothing.
        """
        if not self._finished:
            for site in self._garden.live:
                self._members.leave(self._garden.remove(site))
            self._garden.dissolve()
            if self._norms:
                self._norms.close()
            self._finished = True
        return self.model

    def plot(self, path: str | os.PathLike[str], title: str = "A growing model") -> None:
        """Draw the accuracy over the epochs and the life of every seed.

        Raises:
            ConfigError: there was no step yet.
        """
        if self._ledger.epoch < 1:
            raise ConfigError("there is nothing to plot before the first step")
        draw(self.steps, self._ledger.space.blueprints, title, path)

    # ---- state is data -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the Grower's state; the model's and the optimiser's are their own."""
        books = self._ledger
        return {
            "lifecycle": books.lifecycle.state_dict(),
            "now": vars(books.now.clone()),
            "before": vars(books.before.clone()),
            "history": {name: value.clone() for name, value in vars(books.history).items()},
            "begun": books.begun,
            "germinated": books.germinated,
            "sites": list(self._garden.names),
            "planted": list(self._garden.planted),
            "controller": self._choose.state_dict(),
            "steps": [step.to_data() for step in self.steps],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: plant the seeds that stood then, in a model that has none yet.

        Load the model's and the optimiser's state afterwards: only then do they have a place for the seeds' numbers.

        Raises:
            CheckpointError: the state is of another model, or this Grower has already begun.
        """
        if self._ledger.begun or self._finished:
            raise CheckpointError("a state is loaded into a new Grower, before its first step")
        if list(state["sites"]) != list(self._garden.names):
            raise CheckpointError(f"the state is of a model with sites {state['sites']}, not {self._garden.names}")
        books = self._ledger
        books.load(state)
        for number, blueprint, born in state["planted"]:
            self._members.join(self._garden.plant(number, blueprint, born))
        self._show(books)
        self._choose.load_state_dict(state["controller"])
        self.steps = [GrowthStep.from_data(step) for step in state["steps"]]

    # ---- one step, in order --------------------------------------------------------------------------------------

    def _contribution(self, accuracy: float) -> float | None:
        site = self._ledger.live_site
        if site < 0 or not self._reads_contribution or self._evaluate is None:
            return None
        switched = checked({"evaluate's accuracy": self._garden.measure_switched(site, self._evaluate)})
        other = next(iter(shared_mean(switched, self._garden.device).values()))
        incubating = int(self._ledger.lifecycle.stage[0, site]) == Stage.TRAINING
        return other - accuracy if incubating else accuracy - other

    def _decide(self, books: Ledger, measured: Measured) -> GrowthStep:
        """Choose, carry the choice out, and keep the new books."""
        action, seen = WAIT, None
        if books.epoch < books.epochs:
            action, seen = self._choose(books)
            action = from_first(action, self._garden.device)
            books.act(action)
        op, site, kind = action
        if op == Op.GERMINATE:
            self._members.join(self._garden.plant(site, books.space.blueprints[kind], books.germinated))
        elif op == Op.CULL:
            self._members.leave(self._garden.remove(site))
        self._ledger = books
        self._choose.remember(seen)
        self._show(books)
        self._garden.forget_trained()
        if self._norms:
            self._norms.clear()
        self.steps.append(self._told(books, measured, action))
        return self.steps[-1]

    def _show(self, books: Ledger) -> None:
        life = books.lifecycle
        for number in range(len(self._garden.names)):
            self._garden.show(number, Stage(int(life.stage[0, number])), float(life.alpha[0, number]))

    def _told(self, books: Ledger, measured: Measured, action: Action) -> GrowthStep:
        count, blueprints = len(self._garden.names), books.space.blueprints
        kinds = books.now.blueprint[0, :count].tolist()
        return GrowthStep(
            epoch=books.epoch,
            epochs=books.epochs,
            measured=measured,
            action=action,
            action_name=name_of(action, blueprints, self._garden.names),
            stages=tuple(Stage(value) for value in books.lifecycle.stage[0, :count].tolist()),
            seeds=tuple("" if kind < 0 else blueprints[kind] for kind in kinds),
            alphas=tuple(books.lifecycle.alpha[0, :count].tolist()),
            changed=action[0] in (Op.GERMINATE, Op.CULL),
        )

    def _gradient_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        return self._garden.host_parameters, self._garden.seed_parameters(self._ledger.live_site)
