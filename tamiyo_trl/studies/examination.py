"""The examination of a trained controller on held-out hosts: episodes, ground truth of decisions, ablations, probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase
from torchrl.envs import Compose, TransformedEnv

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.evaluation.ablation import interventions
from tamiyo_trl.evaluation.episode_log import write_log
from tamiyo_trl.evaluation.rollout import Episode, rollout_episodes
from tamiyo_trl.files import write_json, write_rows
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.measures.forks import Decision, GroundTruth
from tamiyo_trl.studies.measures.imposed import ImposedSeed
from tamiyo_trl.studies.measures.probe import chance, probe_accuracy
from tamiyo_trl.studies.run import Exam, Run, trained

EXAM_STAGES = ("held_out.csv", "mode.csv", "imposed.csv", "ablation.json", "probe.json")
DECISION_COLUMNS = tuple(field.name for field in dataclasses.fields(Decision))


@dataclass(frozen=True)
class Examinee:
    """A trained controller and what it is examined by.

    Attributes:
        run: The run it comes from.
        actor_critic: The controller.
        check: Called at every step of every episode; it may raise to stop.
    """

    run: Run
    actor_critic: ActorCritic
    check: Callable[[], None]

    @property
    def exam(self) -> Exam:
        """How it is examined."""
        return self.run.exam

    def play(
        self,
        episodes: int,
        transforms: Compose | None = None,
        policy: TensorDictModuleBase | None = None,
        interaction: InteractionType = InteractionType.RANDOM,
        judged: Sequence[Op] = (),
    ) -> tuple[list[TensorDictBase], list[Decision]]:
        """Return episodes on the held-out hosts, always the same ones, and both outcomes of the `judged` decisions.

        Actions are sampled, as in training, from a random stream that starts alike every time: the mode of a policy
        that was trained to be stochastic is another policy.
        """
        env = GrowthEnv(self.run.plan.env, self.exam.n_envs, self.exam.seed)
        truth = GroundTruth(env, judged)

        def watch(tensordict: TensorDictBase) -> None:
            self.check()
            truth(tensordict)

        wrapped = TransformedEnv(env, transforms or self.actor_critic.transforms())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.run.plan.seed, "examination"))
            steps = rollout_episodes(
                wrapped, policy or self.actor_critic.policy, episodes, interaction=interaction, watch=watch
            )
        known = {int(item["next", keys.INFO, "episode_seed"][-1]) for item in steps}
        return steps, [decision for decision in truth.decisions if decision.episode in known]


def examine(run: Run, check: Callable[[], None] = lambda: None) -> None:
    """Do every stage of the examination that has left no file yet.

    Raises:
        CheckpointError: the training is not there.
    """
    missing = [name for name in EXAM_STAGES if not (run.results / name).exists()]
    if not missing:
        return
    examinee = Examinee(run, trained(run, GrowthEnv(run.plan.env, 1, run.exam.seed)), check)
    for name in missing:
        STAGES[name](examinee)


def held_out(examinee: Examinee) -> None:
    """Let the controller meet the held-out hosts; keep episodes, decisions, entropies and what it held."""
    steps, decisions = examinee.play(examinee.exam.episodes, judged=(Op.FOSSILIZE, Op.CULL))
    results = examinee.run.results
    write_decisions(examinee.run, "held_out_decisions.csv", decisions)
    write_json(results / "entropy.json", entropies(examinee.actor_critic, steps))
    keep_contents(examinee, steps)
    write_log(results / "held_out.csv", [Episode.read(item) for item in steps])


def mode(examinee: Examinee) -> None:
    """Let the policy's mode, the single most probable action at every step, meet the same hosts."""
    steps, _ = examinee.play(examinee.exam.mode_episodes, interaction=InteractionType.DETERMINISTIC)
    write_log(examinee.run.results / "mode.csv", [Episode.read(item) for item in steps])


def imposed(examinee: Examinee) -> None:
    """Let the controller deal with the imposed seeds, the same for every controller."""
    steps, _ = examinee.play(examinee.exam.episodes, policy=ImposedSeed(examinee.actor_critic.policy))
    write_log(examinee.run.results / "imposed.csv", [Episode.read(item) for item in steps])


def ablation(examinee: Examinee) -> None:
    """Evaluate the controller with its hidden state disturbed; a controller without one has nothing to disturb."""
    exam, found = examinee.exam, {}
    chosen = interventions(exam.reset_at, exam.reset_every, exam.swap_at) if examinee.actor_critic.state_keys else ()
    for item in chosen:
        steps, _ = examinee.play(
            exam.disturbed_episodes, item.transforms(examinee.actor_critic), item.policy(examinee.actor_critic)
        )
        played = [Episode.read(episode) for episode in steps]
        found[item.name] = {str(episode.seed): round(episode.final_accuracy, 6) for episode in played}
    write_json(examinee.run.results / "ablation.json", found)


def probe(examinee: Examinee) -> None:
    """Read the hidden deficit from the memory's output and from the observation, step by step."""
    contents = np.load(examinee.run.work / "contents.npz")
    labels, steps = contents["deficit"].tolist(), list(range(contents["core"].shape[1]))
    folds = min(8, int(np.unique(labels, return_counts=True)[1].min()))
    found: dict[str, object] = {"steps": steps, "episodes": len(labels), "chance": chance(labels)}
    if folds >= 2:
        found |= {
            name: probe_accuracy(contents[name].astype(np.float32), labels, steps, folds)
            for name in ("core", "observation")
        }
    write_json(examinee.run.results / "probe.json", found)


STAGES: dict[str, Callable[[Examinee], None]] = dict(
    zip(EXAM_STAGES, (held_out, mode, imposed, ablation, probe), strict=True)
)


def write_decisions(run: Run, name: str, decisions: Sequence[Decision]) -> None:
    """Write one line per decision."""
    write_rows(run.results / name, [dataclasses.asdict(decision) for decision in decisions], DECISION_COLUMNS)


def entropies(actor_critic: ActorCritic, steps: Sequence[TensorDictBase]) -> dict[str, list[float]]:
    """Return the mean entropy of each head at each step of the complete episodes, in nats; they sum to the joint."""
    whole = complete(steps)
    with torch.no_grad():
        heads = actor_critic.policy[-1].get_dist(whole).head_entropies()
    return {name: [round(value, 5) for value in heads[name].mean(0).tolist()] for name in actor_critic.head_names}


def complete(steps: Sequence[TensorDictBase]) -> TensorDictBase:
    """Return the episodes of full length as one TensorDict [N, T]."""
    length = max(len(item) for item in steps)
    whole: TensorDictBase = torch.stack([item for item in steps if len(item) == length])
    return whole


def keep_contents(examinee: Examinee, steps: Sequence[TensorDictBase]) -> None:
    """Keep what the controller saw and held at every step of the complete episodes, for the probe."""
    whole = complete(steps)
    np.savez_compressed(
        examinee.run.work / "contents.npz",
        core=whole[keys.CORE].numpy().astype(np.float16),
        observation=whole[keys.OBSERVATION].numpy().astype(np.float16),
        deficit=whole["next", keys.INFO, "deficit"][:, -1, 0].numpy().astype(np.int64),
        seed=whole["next", keys.INFO, "episode_seed"][:, -1, 0].numpy(),
    )
