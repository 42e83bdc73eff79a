"""Load a trained controller and judge it on hosts it never met: python examples/evaluate_controller.py [runs/demo]"""

import sys

import torch
from torchrl.envs import TransformedEnv

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.evaluation import evaluate, paired
from tamiyo_trl.grow import load_controller
from tamiyo_trl.policies import NeverGrow, RandomLegal

torch.set_num_threads(1)
HOSTS = 8
controller = load_controller(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")  # what `make demo` trained


def hosts() -> GrowthEnv:
    """Return hosts of the controller's world under a seed that no training of ours uses."""
    return GrowthEnv(controller.world, n_envs=HOSTS, seed=1000)


episodes = {
    "never-grow": evaluate(hosts(), NeverGrow(), HOSTS),
    "random-legal": evaluate(hosts(), RandomLegal(0), HOSTS),
    "trained": evaluate(TransformedEnv(hosts(), controller.transforms()), controller.policy, HOSTS),
}
final = {name: [episode.final_accuracy for episode in played] for name, played in episodes.items()}
for name, accuracies in final.items():
    gain = paired(accuracies, final["never-grow"])
    mean = sum(accuracies) / HOSTS
    print(f"{name:13s} {mean:.3f}, over never-grow {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
