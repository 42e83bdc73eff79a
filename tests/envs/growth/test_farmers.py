"""Nothing is to be had from the `gain` reward by shuffling seeds: scripted farmers earn no more than never growing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.evaluation import estimate, evaluate, paired, rollout_episodes
from tamiyo_trl.policies import NeverGrow
from tamiyo_trl.policies.baselines import Baseline
from tamiyo_trl.seeds.lifecycle import Op

pytestmark = pytest.mark.slow

HOSTS = 8
SEED = 31


class Farmer(Baseline):
    """Takes the first legal action of its list of (op, blueprint); its accuracy at planting may decide on culling."""

    def __init__(self, config: GrowthConfig, wishes: list[tuple[int, str]]) -> None:
        super().__init__()
        self.wishes = [(op, config.blueprints.index(kind)) for op, kind in wishes]

    def choose(self, observation, mask):
        action = torch.zeros(len(mask), 3, dtype=torch.long)
        undecided = torch.ones(len(mask), dtype=torch.bool)
        for op, kind in self.wishes:
            legal = mask[:, op, :, kind if op == Op.GERMINATE else 0]
            chosen = undecided & legal.any(-1)
            for host in chosen.nonzero().flatten().tolist():
                site = int(legal[host].long().argmax())
                action[host] = torch.tensor([op, site, kind if op == Op.GERMINATE else 0])
            undecided &= ~chosen
        return action


class HarmThenHeal(Farmer):
    """Plants what harms, waits until it acts in full, then culls it to be paid for the recovery; again and again."""

    def __init__(self, config: GrowthConfig) -> None:
        super().__init__(config, [(Op.CULL, "lossy"), (Op.GERMINATE, "lossy")])
        self.holding = config.feature_names.index("seed stage HOLDING")

    def choose(self, observation, mask):
        patient = mask.clone()
        patient[observation[:, self.holding] == 0, Op.CULL] = False
        return super().choose(observation, patient)


@pytest.fixture(scope="module")
def config() -> GrowthConfig:
    return GrowthConfig(
        image_size=8,
        family="single",
        episode_steps=14,
        splits=SplitSizes(train=512, val=256, test=64),
        training=HostTrainingConfig(images_per_step=128, decay_from=7),
    )


@pytest.fixture(scope="module")
def never(config) -> list[float]:
    return [episode.reward for episode in evaluate(GrowthEnv(config, HOSTS, SEED), NeverGrow(), HOSTS)]


FARMERS = {
    "germinate and cull for ever": lambda config: Farmer(config, [(Op.CULL, "wide"), (Op.GERMINATE, "conv_light")]),
    "fossilize junk everywhere": lambda config: Farmer(config, [(Op.FOSSILIZE, "lossy"), (Op.GERMINATE, "lossy")]),
    "hold for ever": lambda config: Farmer(config, [(Op.GERMINATE, "wide")]),
    "harm, then heal": HarmThenHeal,
}


@pytest.mark.parametrize("name", FARMERS)
def test_farming_does_not_beat_never_growing(config, never, name):
    played = evaluate(GrowthEnv(config, HOSTS, SEED), FARMERS[name](config), HOSTS)
    difference = paired([episode.reward for episode in played], never)
    assert difference.mean <= 1e-6, difference
    assert sum(episode.germinated for episode in played) >= HOSTS  # it did farm
    # A return is what the end is worth: 10 (final - initial accuracy) - rent, never more than 10 accuracy points each.
    assert all(episode.reward <= 10 * (episode.val_accuracy[-1] + 1e-6) for episode in played)


@pytest.mark.parametrize("name", FARMERS)
def test_the_return_is_what_the_end_is_worth_whatever_happened_on_the_way(config, name):
    env = GrowthEnv(config, 4, SEED)
    start = env.reset()["info", "val_accuracy"].clone()
    env.set_seed(SEED, static_seed=True)
    for host, steps in enumerate(rollout_episodes(env, FARMERS[name](config), 4)):
        end = steps["next", "info"][-1]
        growth = (end["added_parameters"] / env.world.fleet.host_parameters).log1p()
        worth = 10 * (end["paid_accuracy"] - start[host]) - 10 * config.rewards.rent * growth
        torch.testing.assert_close(steps["next", "reward"].sum(0), worth, atol=1e-4, rtol=0)


def test_junk_that_is_kept_costs(config, never):
    played = evaluate(GrowthEnv(config, HOSTS, SEED), FARMERS["fossilize junk everywhere"](config), HOSTS)
    assert paired([episode.reward for episode in played], never).high < 0


def test_culling_from_the_incubator_changes_nothing_at_all(config):
    """Incubating costs the host nothing, so a seed culled before it blends leaves exactly never-grow's return."""
    lifecycle = dataclasses.replace(config.lifecycle, train_steps=3, min_cull_age=2)
    patient = dataclasses.replace(config, lifecycle=lifecycle)
    runs = {}
    for name, policy in (("farm", FARMERS["germinate and cull for ever"](patient)), ("never", NeverGrow())):
        runs[name] = [episode.reward for episode in evaluate(GrowthEnv(patient, 4, SEED), policy, 4)]
    assert runs["farm"] == pytest.approx(runs["never"], abs=1e-5)
    assert estimate(runs["never"]).mean > 0  # there was something to earn


def test_a_step_pays_no_more_than_it_changes(config):
    """The reward of every single step is ten times the accuracy it gained, less ten times the rent it added."""
    env = GrowthEnv(config, 2, SEED)
    tensordict = env.reset()
    for _ in range(8):
        before = tensordict["info"].clone()
        taken = env.step(env.rand_action(tensordict))["next"]
        growth = [
            (info["added_parameters"] / env.world.fleet.host_parameters).log1p() for info in (before, taken["info"])
        ]
        earned = 10 * (taken["info", "val_accuracy"] - before["val_accuracy"])
        torch.testing.assert_close(taken["reward"], earned - 0.1 * (growth[1] - growth[0]), atol=1e-5, rtol=0)
        tensordict = TensorDict(dict(taken.items()), batch_size=[2])
