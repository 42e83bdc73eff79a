"""Held-out episodes are complete, paired across controllers, and read back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict.nn import InteractionType
from torchrl.envs import TransformedEnv

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig, RecallEnv
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.evaluation import Episode, compare, evaluate, growth_summary, rollout_episodes
from tamiyo_trl.evaluation.baselines import BASELINES, kept, load_episodes, make_baseline, save_episodes
from tamiyo_trl.policies import NeverGrow, RandomLegal, make_actor_critic

TINY = GrowthConfig(
    image_size=8,
    episode_steps=10,
    splits=SplitSizes(train=128, val=64, test=64),
    training=HostTrainingConfig(images_per_step=64, batch_size=32),
)


def play(name: str, episodes: int, n_envs: int, seed: int) -> list[Episode]:
    return evaluate(GrowthEnv(TINY, n_envs, seed), make_baseline(name, TINY, seed), episodes)


def test_equal_seeds_give_every_controller_the_same_hosts():
    results = {name: play(name, 4, 2, seed=3) for name in BASELINES}
    seeds = {name: [episode.seed for episode in episodes] for name, episodes in results.items()}
    assert all(seeds[name] == seeds["never-grow"] for name in BASELINES)
    assert len(set(seeds["never-grow"])) == 4
    rows = {row.name: row for row in compare(results, "never-grow", "random-legal")}
    assert rows["never-grow"].gain.mean == rows["never-grow"].gain.high == 0
    assert rows["never-grow"].germinated == 0
    assert rows["fixed schedule"].fossilized == 1
    expected = np.mean(
        [a.final_accuracy - b.final_accuracy for a, b in zip(results["heuristic"], results["never-grow"], strict=True)]
    )
    assert rows["heuristic"].gain.mean == pytest.approx(expected)


def test_the_same_controller_twice_gives_the_same_episodes():
    first, second = (play("random-legal", 2, 2, seed=5) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.final_accuracy == other.final_accuracy
        assert np.array_equal(one.action, other.action)


def test_a_policy_acts_by_samples_of_its_own_stream():
    def play(**settings) -> np.ndarray:
        env = GrowthEnv(TINY, 2, seed=1)
        actor_critic = make_actor_critic(env, memory="mlp", hidden_size=8, encoder_size=8)
        wrapped = TransformedEnv(env, actor_critic.transforms())
        return np.stack([e.action for e in evaluate(wrapped, actor_critic.policy, 2, **settings)])

    torch.manual_seed(0)
    before, sampled = torch.get_rng_state(), play()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert np.array_equal(sampled, play(seed=0))
    assert not np.array_equal(sampled, play(seed=1))
    mode = InteractionType.DETERMINISTIC
    assert np.array_equal(play(interaction=mode), play(interaction=mode, seed=1))


def test_a_recurrent_policy_is_evaluated_with_its_state():
    env = GrowthEnv(TINY, 2, seed=1)
    actor_critic = make_actor_critic(env, memory="lstm", hidden_size=8, encoder_size=8)
    wrapped = TransformedEnv(env, actor_critic.transforms())
    episodes = rollout_episodes(wrapped, actor_critic.policy, 4)
    assert [len(episode) for episode in episodes] == [10] * 4
    for episode in episodes:
        assert episode["is_init"].squeeze(-1).tolist() == [True] + [False] * 9
        state = episode["recurrent_state_h"]
        assert (state[0] == 0).all()
        assert torch.equal(state[1:], episode["next", "recurrent_state_h"][:-1])
        assert (state[1:] != 0).any()


def test_episodes_survive_their_file(tmp_path):
    episodes = play("fixed schedule", 2, 2, seed=5)
    save_episodes(tmp_path / "a" / "file.json", episodes)
    for one, other in zip(episodes, load_episodes(tmp_path / "a" / "file.json"), strict=True):
        for name, value in vars(one).items():
            assert np.array_equal(value, getattr(other, name)), name


def test_finished_results_are_not_made_again(tmp_path):
    path = tmp_path / "file.json"
    episodes = play("never-grow", 2, 2, seed=5)
    kept(path, lambda: episodes)
    again = kept(path, lambda: pytest.fail("it was there already"))
    assert [episode.seed for episode in again] == [episode.seed for episode in episodes]


def test_summary_means_over_the_episodes_that_ended():
    batch = GrowthEnv(TINY, 3, seed=2).rollout(15, break_when_any_done=False)
    summary = growth_summary(batch)
    final = batch["next", "info", "final_accuracy"]
    assert summary["growth/final_accuracy"] == pytest.approx(final[final > 0].mean().item())
    assert growth_summary(batch[:, :5]) == {}


def test_only_growth_episodes_can_be_read_and_episodes_must_fit_the_envs():
    with pytest.raises(ConfigError, match="multiple of the 2 envs, got 3"):
        evaluate(GrowthEnv(TINY, 2), NeverGrow(), 3)
    env = RecallEnv(n_envs=2)
    actor_critic = make_actor_critic(env, memory="mlp", hidden_size=8, encoder_size=8)
    with pytest.raises(SpecError, match="GrowthEnv"):
        evaluate(TransformedEnv(env, actor_critic.transforms()), actor_critic.policy, 2)


def test_unknown_baseline_is_refused_by_name():
    with pytest.raises(ConfigError, match="got 'oracle'"):
        make_baseline("oracle", TINY, 0)
    assert isinstance(make_baseline("random-legal", TINY, 0), RandomLegal)
