"""How well hidden facts are read from one observation, and from the episode so far: one model class, two views.

Models are fitted on logged episodes; everything that is reported of them is of episodes they were not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tensordict import TensorDictBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError

LAGS, FIRST, FOLDS = 8, 3, 4  # steps back, first steps of an episode, folds of episodes held out

# Observations of N hosts up to and with step at[n], float [N, T, F] and int [N], to columns [N, columns].
View = Callable[[np.ndarray, np.ndarray], np.ndarray]


def one_observation(seen: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the observation of step `at` alone."""
    return seen[np.arange(len(at)), at]


def episode_so_far(seen: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the observation of step `at`, those of eight steps before and of the first three, and the mean of all.

    What lies before the episode's beginning or after `at` is 0.
    """
    hosts = np.arange(len(at))
    lags = [seen[hosts, np.maximum(at - lag, 0)] * (at >= lag)[:, None] for lag in range(LAGS + 1)]
    first = [seen[:, step] * (at >= step)[:, None] for step in range(min(FIRST, seen.shape[1]))]
    known = np.arange(seen.shape[1])[None] <= at[:, None]
    mean = (seen * known[..., None]).sum(1) / known.sum(1, keepdims=True)
    return np.concatenate([*lags, *first, mean], 1)


VIEWS: dict[str, View] = {"one observation": one_observation, "episode so far": episode_so_far}


@dataclass(frozen=True)
class Log:
    """Logged episodes, N of T steps: what was seen before each action, and what was true then.

    Attributes:
        seen: Observations, float32 [N, T, F].
        deficit: int [N].
        age: Age of the live seed, int [N, T]; -1 without one.
        good: Whether the live seed is good, bool [N, T].
    """

    seen: np.ndarray
    deficit: np.ndarray
    age: np.ndarray
    good: np.ndarray

    def rows(self, fact: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the episode, the step and the truth of every row that tells of a fact, int [R] each.

        Raises:
            ConfigError: there is no such fact.
        """
        if fact == "deficit":
            episode, step = (index.ravel() for index in np.indices(self.age.shape))
            return episode, step, self.deficit[episode]
        if fact == "good seed":
            episode, step = np.nonzero(self.age >= 0)
            return episode, step, self.good[episode, step].astype(int)
        raise ConfigError(f"a fact must be one of {', '.join(FACTS)}; got {fact!r}")


FACTS = ("deficit", "good seed")


@dataclass(frozen=True)
class Reading:
    """A fitted model of one fact in one view, and what it said of episodes that were held out.

    Attributes:
        model: Fitted on all episodes.
        kind: Its name.
        view: What it reads.
        held_out: Probabilities [R, classes] of the rows of the log, each by a model that did not see their episode.
        loss: Their log loss, nats.
    """

    model: ClassifierMixin
    kind: str
    view: View
    held_out: np.ndarray
    loss: float

    def probabilities(self, seen: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return the probability of each class, float [N, classes]."""
        found: np.ndarray = self.model.predict_proba(self.view(seen, at))
        return found


def _models() -> dict[str, ClassifierMixin]:
    """Return the model class: the better one of these is taken for each fact and view, by held-out log loss."""
    # The longer view has thirteen times the columns: it needs the stronger priors, and both views may choose them.
    linear = {
        f"logistic regression, C {strength:g}": make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=500)
        )
        for strength in (0.1, 0.01, 0.001)
    }
    return linear | {
        "gradient boosting": HistGradientBoostingClassifier(
            max_iter=60,
            learning_rate=0.1,
            max_leaf_nodes=15,
            min_samples_leaf=30,
            l2_regularization=1.0,
            random_state=0,
        ),
    }


def fit_reading(log: Log, fact: str, view: View) -> Reading:
    """Return the better model of a fact in a view.

    Raises:
        ConfigError: the log holds one value of the fact only.
    """
    episode, step, truth = log.rows(fact)
    if len(np.unique(truth)) < 2:
        raise ConfigError(f"a reading of the {fact} needs episodes in which it differs; log more of them")
    columns = view(log.seen[episode], step)
    found = []
    for kind, model in _models().items():
        split = GroupKFold(min(FOLDS, len(np.unique(episode))))
        held_out = cross_val_predict(model, columns, truth, groups=episode, cv=split, method="predict_proba")
        found.append((log_loss(truth, held_out), kind, model, held_out))
    loss, kind, model, held_out = min(found, key=lambda item: item[0])
    return Reading(model.fit(columns, truth), kind, view, held_out, float(loss))


class Reader:
    """Believes what fitted readings say of what a controller sees: a `Knowledge` without anything privileged.

    Args:
        config: What is played.
        deficit, good: The readings of the two facts.
    """

    def __init__(self, config: GrowthConfig, deficit: Reading, good: Reading) -> None:
        self._deficit, self._good = deficit, good
        self._clock, self._steps = config.feature_names.index("time"), config.episode_steps
        self._deficits = len(make_family(config.family, config.image_size, config.task).deficits)
        self._seen = np.zeros((0, 0, 0), dtype=np.float32)

    def read(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Note what is shown and return what the readings make of it."""
        shown = tensordict[keys.OBSERVATION].cpu().numpy()
        at = np.rint(shown[:, self._clock] * self._steps).astype(int)
        if len(self._seen) != len(shown):
            self._seen = np.zeros((len(shown), self._steps, shown.shape[1]), dtype=np.float32)
        self._seen[np.arange(len(at)), at] = shown
        deficit = np.zeros((len(at), self._deficits), dtype=np.float32)
        deficit[:, self._deficit.model.classes_] = self._deficit.probabilities(self._seen, at)
        good = self._good.probabilities(self._seen, at)[:, -1].astype(np.float32)
        return torch.from_numpy(deficit), torch.from_numpy(good)
