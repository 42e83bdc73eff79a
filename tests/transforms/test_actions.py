"""FlatAction, PreviousAction and FrameStack do what a plain loop does."""

from __future__ import annotations

import pytest
import torch
from torchrl.data import Bounded
from torchrl.envs import CatFrames, Compose, InitTracker, TransformedEnv

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.transforms import FlatAction, FrameStack, PreviousAction, joint_actions
from tests.policies.zoo import KINDS, Kind, ZooEnv

JOINT = Kind((3,), "multi", "joint", (2, 3))


def test_joint_actions_are_all_combinations_the_last_head_fastest() -> None:
    assert joint_actions((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert joint_actions((3,)).tolist() == [[0], [1], [2]]


def test_the_flat_mask_is_the_joint_mask_at_the_tables_rows_and_the_action_the_tables_row() -> None:
    table = torch.tensor([[1, 2], [0, 0], [1, 0], [0, 2]])
    base = ZooEnv(JOINT)
    env = TransformedEnv(base, FlatAction(table))
    step = env.reset()
    for _ in range(20):
        joint = base.mask
        for e in range(3):
            assert step["action_mask"][e].tolist() == [bool(joint[e, i, j]) for i, j in table.tolist()]
        env.rand_action(step)
        native = table[step["action"]]
        assert joint[torch.arange(3), native[:, 0], native[:, 1]].all()
        step = env.step_and_maybe_reset(step)[1]


def test_a_flat_policy_trains_on_several_heads() -> None:
    rows = joint_actions((2, 3, 3))
    env = TransformedEnv(RecallEnv(RecallConfig(delay=1), n_envs=8), FlatAction(rows))
    actor_critic = make_actor_critic(env, "lstm", hidden_size=8, encoder_size=8)
    assert actor_critic.nvec == (18,)
    env = TransformedEnv(env, actor_critic.transforms())
    batch = env.rollout(16, actor_critic.collection_policy(), break_when_any_done=False)
    metrics = PPOLearner(actor_critic, PPOConfig(slice_len=8)).update(batch.detach())
    assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)


def test_random_flat_actions_cover_the_legal_rows() -> None:
    env = TransformedEnv(RecallEnv(RecallConfig(delay=0, jitter=0), n_envs=200), FlatAction(joint_actions((2, 3, 3))))
    step = env.step(env.rand_action(env.reset()))["next"]
    chosen = env.rand_action(step.clone())["action"]
    assert step["action_mask"].gather(-1, chosen.unsqueeze(-1)).all()
    assert len(chosen.unique()) > 5
    without = env.rand_action()["action"]  # no mask at hand: the environment's own legal action, translated
    assert step["action_mask"].gather(-1, without.unsqueeze(-1)).all()


def test_index_of_undoes_the_table() -> None:
    table = joint_actions((2, 3, 4))[::3]
    transform = FlatAction(table)
    assert torch.equal(transform.index_of(table[torch.tensor([[3, 1], [0, 2]])]), torch.tensor([[3, 1], [0, 2]]))
    with pytest.raises(ValueError, match="not in the table"):
        transform.index_of(torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.tensor([[0.0, 1.0]]), "int64"),
        (torch.tensor([0, 1]), r"\[A, D\]"),
        (torch.tensor([[0, 1], [0, 1]]), "only once"),
    ],
)
def test_malformed_tables_are_refused(table: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlatAction(table)


@pytest.mark.parametrize("table", [[[0, 3]], [[2, 0]], [[-1, 0]], [[0, 0, 0]]])
def test_tables_of_other_heads_are_refused(table: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"heads with \[2, 3\] values"):
        TransformedEnv(ZooEnv(JOINT), FlatAction(torch.tensor(table))).action_spec  # noqa: B018 (specs are lazy)


def test_other_actions_and_masks_are_refused() -> None:
    table = joint_actions((2, 3))
    with pytest.raises(ValueError, match="flattens MultiCategorical actions, got Categorical"):
        TransformedEnv(ZooEnv(Kind((3,))), FlatAction(table, mask_key=None)).action_spec  # noqa: B018
    with pytest.raises(ValueError, match=r"not the joint mask \(3, 2, 3\)"):
        TransformedEnv(ZooEnv(Kind((3,), "multi", "independent", (2, 3))), FlatAction(table)).observation_spec  # noqa: B018


def test_a_state_without_a_legal_row_is_refused() -> None:
    env = TransformedEnv(RecallEnv(n_envs=2), FlatAction(torch.tensor([[1, 0, 0], [1, 1, 1]])))
    with pytest.raises(ValueError, match="no joint action of the table is legal"):
        env.reset()


def one_hot(index: int, size: int) -> list[float]:
    return [float(i == index) for i in range(size)]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_previous_action_and_reward_follow_the_observation(kind: Kind, flat: bool) -> None:
    if flat and kind.mask != "joint":
        pytest.skip("only a joint mask can be flattened")
    base = ZooEnv(kind)
    rows = joint_actions(kind.nvec)
    env = TransformedEnv(base, Compose(InitTracker(), *([FlatAction(rows)] if flat else []), PreviousAction()))
    batch = env.rollout(20, break_when_any_done=False)
    n = len(kind.batch)
    view, starts = (
        batch["observation"].flatten(0, n - 1) if n else batch["observation"][None],
        batch["is_init"].reshape(-1, 20),
    )
    action = rows[batch["action"]] if flat else base.heads.decode(batch["action"])
    action, reward = action.reshape(-1, 20, len(kind.nvec)), batch["next", "reward"].reshape(-1, 20)
    for e in range(view.shape[0]):
        for t in range(20):
            tail = view[e, t, base.features :].tolist()
            if starts[e, t]:
                assert tail == [0.0] * (sum(kind.nvec) + 1)
            else:
                hot = [x for i, size in enumerate(kind.nvec) for x in one_hot(int(action[e, t - 1, i]), size)]
                assert tail == pytest.approx([*hot, float(reward[e, t - 1])])
    assert batch["observation"].dtype == kind.dtype


def test_the_previous_action_must_be_discrete_and_the_observation_flat() -> None:
    env = ZooEnv(Kind((3,)))
    env.set_spec_lock_(False)
    env.action_spec = Bounded(-1, 1, shape=(3, 2))
    with pytest.raises(ValueError, match="needs a discrete action, got BoundedContinuous"):
        TransformedEnv(env, PreviousAction()).observation_spec  # noqa: B018 (specs are lazy)
    with pytest.raises(ValueError, match="must be a flat float observation"):
        TransformedEnv(ZooEnv(Kind((3,), mask="independent")), PreviousAction("action_mask")).observation_spec  # noqa: B018


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (2, 1, 2)])
def test_stacked_frames_are_the_latest_observations_of_the_same_episode(batch: tuple[int, ...]) -> None:
    stack = FrameStack(3, dim=-1, in_keys=["observation"], out_keys=["frames"])
    got = TransformedEnv(ZooEnv(Kind(batch)), Compose(InitTracker(), stack)).rollout(25, break_when_any_done=False)
    view, frames = (got[key].reshape(-1, 25, got[key].shape[-1]) for key in ("observation", "frames"))
    starts = got["is_init"].reshape(-1, 25)
    for e in range(view.shape[0]):
        window: list[torch.Tensor] = []
        for t in range(25):
            window = [view[e, t]] * 3 if starts[e, t] else [*window[1:], view[e, t]]
            assert torch.equal(frames[e, t], torch.cat(window))


def test_with_one_batch_axis_stacked_frames_are_torchrls() -> None:
    batches = []
    for kind in (CatFrames, FrameStack):
        stack = kind(2, dim=-1, in_keys=["observation"], out_keys=["frames"])
        batches.append(
            TransformedEnv(ZooEnv(Kind((4,)), 5), stack).rollout(
                20,
                lambda tensordict: tensordict.set("action", torch.zeros(4, dtype=torch.int64)),
                break_when_any_done=False,
            )
        )
    assert torch.equal(batches[0]["frames"], batches[1]["frames"])
