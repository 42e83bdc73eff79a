"""Ask what a seed is worth under a hidden deficit of one's own: python examples/own_deficit.py"""

import torch

from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.deficits import Deficit, register_deficit
from tamiyo_trl.evaluation import evaluate, paired
from tamiyo_trl.policies import FixedSchedule, NeverGrow, Planting

torch.set_num_threads(1)
# Hosts that learn at twenty times their rate. Worker processes import a script anew: register where it is imported.
register_deficit(Deficit("hot", lr_scale=20.0))
HOSTS = 8
config = GrowthConfig(image_size=8, family="mixed:hot")
norm = config.blueprints.index("norm")


def hosts() -> GrowthEnv:
    """Return the same hosts, at the start of their episode."""
    return GrowthEnv(config, n_envs=HOSTS, seed=0)


never = evaluate(hosts(), NeverGrow(), HOSTS)
print(f"never growing: final test accuracy {sum(e.final_accuracy for e in never) / HOSTS:.3f}")
for site in range(len(config.sites)):
    schedule = FixedSchedule(config, config.episode_steps, [Planting(step=2, site=site, blueprint=norm)])
    grown = evaluate(hosts(), schedule, HOSTS)
    gain = paired([g.final_accuracy for g in grown], [n.final_accuracy for n in never])
    print(f"a norm at site {site}: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
