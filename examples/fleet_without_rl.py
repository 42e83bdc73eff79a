"""Train many small networks at once and grow one of them, without RL: python examples/fleet_without_rl.py"""

import torch
from sklearn.datasets import load_digits

from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.seeds.blueprints import SeedBirth

torch.set_num_threads(1)
N, EPOCHS = 8, 5
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1  # [1797, 1, 8, 8]
labels = torch.tensor(digits.target)
train, test = slice(0, 1024), slice(1024, 1536)

fleet = Fleet(HostConfig(image_size=8, in_channels=1), n_hosts=N)
fleet.reset(range(N), [HostBirth(seed=e) for e in range(N)])
fleet.germinate(host=0, site=1, birth=SeedBirth("conv_light", seed=0))  # host 0 alone grows, behind its second block
alpha = torch.zeros(N, 3)
alpha[0, 1] = 1.0
fleet.set_blend(alpha, incubating=torch.zeros(N, 3, dtype=torch.bool))
live = torch.full((N,), -1)
live[0] = 1


def for_all(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same data for every host, [N, ...]; hosts could as well have data of their own."""
    return tensor.expand(N, *tensor.shape).contiguous()


for epoch in range(EPOCHS):
    order = torch.stack([torch.randperm(1024) for _ in range(N)])
    rate = torch.full((N,), 0.05)
    fleet.train_epoch(for_all(images[train]), for_all(labels[train]), order, batch_size=32, lr=rate)
    result = fleet.evaluate(for_all(images[test]), for_all(labels[test]), live)
    print(f"epoch {epoch}: test accuracy " + " ".join(f"{accuracy:.2f}" for accuracy in result.accuracy.tolist()))
print("parameters of each host's seeds:", fleet.parameter_counts().sum(1).tolist(), "beside", fleet.host_parameters)
