"""The loss against TorchRL's ClipPPOLoss: terms and gradients, off the collecting policy, some ratios clipped."""

from __future__ import annotations

import pytest
import torch

from tamiyo_trl.objectives.loss import SliceClipPPOLoss
from tamiyo_trl.policies import ActorCriticOptions, SeparateTrunks
from tests.objectives.helpers import collect, make_env, make_policy
from tests.reference.torchrl_loss import torchrl_loss

CLIP, VALUE, WEIGHTS = 0.05, 0.7, {"head_1": 0.3}


@pytest.mark.parametrize("trunks", [None, SeparateTrunks()])
@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
def test_terms_and_gradients_equal_those_of_torchrl_s_loss(memory, trunks):
    options = ActorCriticOptions() if trunks is None else ActorCriticOptions(critic=trunks)
    actor_critic = make_policy(memory, options=options)
    part = collect(actor_critic, make_env(actor_critic), 9).select(*actor_critic.training_keys)
    generator = torch.Generator().manual_seed(1)
    for key in ("advantage", "value_target"):
        part[key] = torch.randn(*part.shape, 1, generator=generator)
    with torch.no_grad():
        for parameter in actor_critic.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    theirs = torchrl_loss(actor_critic, CLIP, VALUE, WEIGHTS)
    expected = theirs(part)
    weights = {head: WEIGHTS.get(head, 1.0) for head in actor_critic.head_names}
    found = SliceClipPPOLoss(actor_critic, CLIP, VALUE, weights)(part)
    assert 0 < expected["clip_fraction"] < 1
    close = {"rtol": 1e-5, "atol": 1e-6}
    for term in ("loss_objective", "loss_critic", "loss_entropy", "clip_fraction"):
        torch.testing.assert_close(found[term], expected[term], **close)
    torch.testing.assert_close(found["log_ratio"].reshape(9, -1).t(), theirs.log_ratio.squeeze(-1), **close)
    for head in actor_critic.head_names:
        means = found["composite_entropy", head], expected["composite_entropy", head].mean()
        torch.testing.assert_close(*means, **close)
    mine, other = (out["loss_objective"] + out["loss_critic"] + 0.2 * out["loss_entropy"] for out in (found, expected))
    parameters = list(actor_critic.parameters())
    gradients, theirs_too = torch.autograd.grad(mine, parameters), torch.autograd.grad(other, parameters)
    assert sum(bool(gradient.any()) for gradient in theirs_too) > len(parameters) // 2  # some units may be dead
    for one, two in zip(gradients, theirs_too):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
