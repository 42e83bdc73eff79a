from __future__ import annotations

import dataclasses
import math

import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives import PPOConfig

BAD = [
    ("slice_len", 0),
    ("epochs", 0),
    ("minibatches", -1),
    ("lr", -1e-4),
    ("lr", math.inf),
    ("lr_end", -1e-3),
    ("entropy_end", math.inf),
    ("adam_eps", 0.0),
    ("clip_epsilon", 0.0),
    ("clip_epsilon", 1.0),
    ("gamma", 1.01),
    ("gamma", math.nan),
    ("gae_lambda", -0.1),
    ("entropy_coeff", math.nan),
    ("entropy_weights", {"op": -1.0}),
    ("value_coeff", -0.5),
    ("max_grad_norm", 0.0),
    ("target_kl", 0.0),
    ("target_kl", math.nan),
    ("advantage_std_floor", 0.0),
    ("refresh", "always"),
    ("value_norm", "popart"),
    ("ratio_tolerance", 0.0),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value}" for name, value in BAD])
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name):
        PPOConfig(**{name: value})


def test_every_setting_is_documented():
    documented = PPOConfig.__doc__ or ""
    assert all(f"        {field.name}:" in documented for field in dataclasses.fields(PPOConfig))


def test_limits_that_mean_never_are_allowed():
    assert PPOConfig(target_kl=math.inf, max_grad_norm=math.inf, gamma=1.0, gae_lambda=0.0, entropy_coeff=0.0)
