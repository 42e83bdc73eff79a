"""Initial weights: orthogonal, with the gains PPO is known to like."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import nn

HIDDEN_GAIN = math.sqrt(2.0)
Module = TypeVar("Module", bound=nn.Module)


def orthogonal(module: Module, gain: float = HIDDEN_GAIN) -> Module:
    """Initialise and return `module`: Linear weights orthogonal with `gain`, recurrent gates orthogonal one by one with
    gain 1, biases zero.

    Source: Andrychowicz et al. (2021), What Matters in On-Policy RL; Saxe et al. (2014).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.orthogonal_(part.weight, gain)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.RNNBase):
            for name, parameter in part.named_parameters():
                if "bias" in name:
                    nn.init.zeros_(parameter)
                else:
                    for gate in parameter.data.split(part.hidden_size):
                        nn.init.orthogonal_(gate)
    return module


def forget_nothing(lstm: nn.LSTM) -> nn.LSTM:
    """Set the forget gates' bias to 1, so that a new LSTM keeps its cell by default, and return the LSTM.

    Source: Jozefowicz et al. (2015), An Empirical Exploration of Recurrent Network Architectures.
    """
    H = lstm.hidden_size
    with torch.no_grad():
        for name, bias in lstm.named_parameters():
            if name.startswith("bias_ih"):
                bias[H : 2 * H] = 1.0
    return lstm
