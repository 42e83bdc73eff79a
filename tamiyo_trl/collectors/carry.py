"""What a collector carries from batch to batch, captured and restored: the one place that touches its private parts."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torchrl.envs import EnvBase, TransformedEnv

from tamiyo_trl.collectors.collector import SyncDataCollector
from tamiyo_trl.collectors.lean import CARRIER
from tamiyo_trl.errors import CheckpointError


def collector_state(collector: SyncDataCollector) -> dict[str, Any]:
    """Return where `collector` stands between two batches: counters, environment, transforms and next step.

    As with any `state_dict`, its tensors are the live ones: copy or save it before the collector goes on.

    An environment takes part in exact resume if its `state_dict()` holds its whole live state, generators included.
    Where it holds nothing, `load_collector_state` can only begin new episodes.

    Raises:
        CheckpointError: this version of TorchRL keeps the next step elsewhere.
    """
    layers, base = _unwrap(collector.env)
    counters = SyncDataCollector.state_dict(collector)
    return {
        "counters": {key: counters[key] for key in ("frames", "iter")},
        "transforms": [layer.transform.state_dict() for layer in layers],
        "environment": base.state_dict(),
        "next_step": _carrier(collector).to_dict(),
    }


def load_collector_state(collector: SyncDataCollector, state: dict[str, Any]) -> None:
    """Restore what `collector_state` returned into a new collector of an equal environment.

    Raises:
        CheckpointError: the environment or its transforms are not those of the checkpoint.
    """
    layers, base = _unwrap(collector.env)
    if len(layers) != len(state["transforms"]):
        raise CheckpointError(
            f"the environment has {len(layers)} layers of transforms, the checkpoint {len(state['transforms'])}"
        )
    SyncDataCollector.load_state_dict(collector, state["counters"], strict=False)
    try:
        for layer, saved in zip(layers, state["transforms"]):
            layer.transform.load_state_dict(saved)
        if _is_live(state["environment"]):
            base.load_state_dict(state["environment"])
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"the environment does not fit the checkpoint: {error}") from error
    if _is_live(state["environment"]):
        old = _carrier(collector)
        carrier = TensorDict(state["next_step"], batch_size=old.batch_size, names=old.names)
        if collector.env.device is not None:
            carrier = carrier.to(collector.env.device)
        setattr(collector, CARRIER, carrier if old.device is not None else carrier.clear_device_())
    else:
        collector.reset()


def _carrier(collector: SyncDataCollector) -> TensorDict:
    carrier = getattr(collector, CARRIER, None)
    if carrier is None:
        raise CheckpointError(f"this version of TorchRL has no {CARRIER}: a collector's place cannot be saved")
    return carrier


def _unwrap(env: EnvBase) -> tuple[list[TransformedEnv], EnvBase]:
    layers = []
    while isinstance(env, TransformedEnv):
        layers.append(env)
        env = env.base_env
    return layers, env


def _is_live(state: Any) -> bool:
    """Return whether a state dict, nested or not, holds anything at all."""
    if isinstance(state, dict):
        return any(_is_live(value) for value in state.values())
    return isinstance(state, torch.Tensor) or state is not None
