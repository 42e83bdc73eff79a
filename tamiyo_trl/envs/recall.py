"""RecallEnv: a masked, several-headed memory task whose best and memoryless returns are known exactly.

An episode shows a cue (a site and a colour) on its first step, then distracting symbols for `delay` steps, and then
asks: ANSWER with the site and the colour of the cue, or WAIT and go without. Which answers are legal is drawn per
episode without telling the cue: every legal pair is equally likely to be the cue, so any policy without memory earns at
most `chance`, whatever it observes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Composite, MultiCategorical, Unbounded
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, IllegalActionError
from tamiyo_trl.seeding import derive_seed

WAIT, ANSWER = 0, 1
OPS = ("WAIT", "ANSWER")
DONE_KEYS = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)


@dataclass(frozen=True)
class RecallConfig:
    """The shape of the task.

    Attributes:
        sites: number of sites a cue can name (S).
        colours: number of colours a cue can name (K).
        legal_sites: sites legal at the question, the cue's included.
        legal_colours: colours legal at each legal site, the cue's included at its own site.
        delay: steps between the cue and the question.
        jitter: each episode's delay is drawn uniformly from delay..delay + jitter, which staggers the episodes.
        distraction: probability that a step of the delay shows a random symbol pair instead of nothing.
    """

    sites: int = 3
    colours: int = 3
    legal_sites: int = 2
    legal_colours: int = 2
    delay: int = 6
    jitter: int = 2
    distraction: float = 0.5

    def __post_init__(self) -> None:
        """Raise ConfigError for a task that cannot exist."""
        for name, most in (("legal_sites", self.sites), ("legal_colours", self.colours)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must lie in 1..{most}, got {getattr(self, name)}")
        if self.delay < 0 or self.jitter < 0:
            raise ConfigError(f"delay and jitter must be at least 0, got {self.delay} and {self.jitter}")
        if not 0.0 <= self.distraction <= 1.0:
            raise ConfigError(f"distraction is a probability in 0..1, got {self.distraction}")


class RecallEnv(EnvBase):
    """E recall episodes side by side, batch_size [E].

    Observation float32 [E, 2 + S + K]: cue flag, question flag, one-hot site, one-hot colour. Action int64 [E, 3]: op
    {WAIT, ANSWER} x site x colour. Mask bool [E, 2, S, K]: the legal joint actions (WAIT goes with site 0, colour 0).
    Reward: 1 for the cue's pair at the question, else 0; the episode ends `terminated` with the question.

    The whole live state, the random generator included, is in `state_dict`.

    Raises:
        ConfigError: `n_envs` below 1.
        IllegalActionError: `step` met an action its mask forbids.
    """

    def __init__(self, config: RecallConfig | None = None, n_envs: int = 16, seed: int = 0) -> None:
        if n_envs < 1:
            raise ConfigError(f"n_envs must be at least 1, got {n_envs}")
        super().__init__(device="cpu", batch_size=torch.Size([n_envs]))
        self.config = config or RecallConfig()
        self._generator = torch.Generator()
        self._make_specs()
        E, S, K = n_envs, self.config.sites, self.config.colours
        for name, tensor in {
            "_step_in_episode": torch.zeros(E, dtype=torch.int64),
            "_question_step": torch.zeros(E, dtype=torch.int64),
            "_cue": torch.zeros(E, 2, dtype=torch.int64),
            "_answers": torch.zeros(E, S, K, dtype=torch.bool),
            "_mask": torch.zeros(E, len(OPS), S, K, dtype=torch.bool),
        }.items():
            self.register_buffer(name, tensor)
        self.set_seed(seed)

    @property
    def optimum(self) -> float:
        """Expected episode return of the best policy with memory."""
        return 1.0

    @property
    def chance(self) -> float:
        """Expected episode return of the best policy without memory: one legal pair, all equally likely."""
        return 1.0 / (self.config.legal_sites * self.config.legal_colours)

    def _make_specs(self) -> None:
        c, E = self.config, self.batch_size
        nvec = (len(OPS), c.sites, c.colours)
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Unbounded(shape=(*E, 2 + c.sites + c.colours)),
                keys.ACTION_MASK: Binary(shape=(*E, *nvec), dtype=torch.bool),
            },
            shape=E,
        )
        self.action_spec = MultiCategorical(nvec, shape=(*E, len(nvec)))
        self.reward_spec = Unbounded(shape=(*E, 1))
        done = {
            name: Binary(1, shape=(*E, 1), dtype=torch.bool) for name in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)
        }
        self.full_done_spec = Composite(done, shape=E)

    def _set_seed(self, seed: int | None) -> None:
        self._generator.manual_seed(derive_seed(0 if seed is None else seed, "recall"))

    def get_extra_state(self) -> torch.Tensor:
        """Return the generator's state, which no buffer holds."""
        return self._generator.get_state()

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Restore the generator's state."""
        self._generator.set_state(state)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        reset = None if tensordict is None else tensordict.get("_reset", None)
        rows = torch.ones(self.batch_size, dtype=torch.bool) if reset is None else reset.reshape(self.batch_size)
        self._begin(rows)
        return self._show()

    def _begin(self, rows: torch.Tensor) -> None:
        """Draw a new episode for each of `rows` (bool [E]); the others keep theirs."""
        c, gen, n = self.config, self._generator, int(rows.sum())
        cue = torch.stack([torch.randint(size, (n,), generator=gen) for size in (c.sites, c.colours)], -1)
        site_score = torch.rand(n, c.sites, generator=gen)
        site_score.scatter_(1, cue[:, :1], 2.0)  # the cue is always among the legal ones; the rest are drawn evenly
        colour_score = torch.rand(n, c.sites, c.colours, generator=gen)
        colour_score[torch.arange(n), cue[:, 0], cue[:, 1]] = 2.0
        self._answers[rows] = _largest(colour_score, c.legal_colours) & _largest(site_score, c.legal_sites)[..., None]
        self._question_step[rows] = 1 + c.delay + torch.randint(c.jitter + 1, (n,), generator=gen)
        self._cue[rows] = cue
        self._step_in_episode[rows] = 0

    def _show(self) -> TensorDict:
        """Return observation, mask and a clear done flag of the present step."""
        c, E = self.config, self.batch_size[0]
        is_cue, asks = self._step_in_episode == 0, self._step_in_episode == self._question_step
        draw = torch.rand(3, E, generator=self._generator)
        noise = torch.stack([draw[0] * c.sites, draw[1] * c.colours], -1).long()
        symbol = torch.where(is_cue[:, None], self._cue, noise)
        shown = is_cue | ((draw[2] < c.distraction) & ~asks)
        observation = torch.zeros(E, 2 + c.sites + c.colours)
        observation[:, 0], observation[:, 1] = is_cue, asks
        observation.scatter_(1, symbol + torch.tensor([2, 2 + c.sites]), shown[:, None].float().expand(E, 2))
        self._mask = torch.zeros(E, len(OPS), c.sites, c.colours, dtype=torch.bool)
        self._mask[:, WAIT, 0, 0] = True
        self._mask[:, ANSWER] = self._answers & asks[:, None, None]
        clear = {name: torch.zeros(E, 1, dtype=torch.bool) for name in DONE_KEYS}
        shown_keys = {keys.OBSERVATION: observation, keys.ACTION_MASK: self._mask.clone()}
        return TensorDict(shown_keys | clear, batch_size=self.batch_size)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict.get(keys.ACTION)
        self._check(action)
        asks = self._step_in_episode == self._question_step
        right = asks & (action[:, 0] == ANSWER) & (action[:, 1:] == self._cue).all(-1)
        self._step_in_episode += 1
        out = self._show()
        for name in (keys.DONE, keys.TERMINATED):
            out.set(name, asks.unsqueeze(-1).clone())
        return out.set(keys.REWARD, right.float().unsqueeze(-1))

    def _check(self, action: torch.Tensor) -> None:
        sizes = torch.tensor(self._mask.shape[1:])
        inside = ((action >= 0) & (action < sizes)).all(-1)
        op, site, colour = torch.where(inside.unsqueeze(-1), action, 0).unbind(-1)
        legal = inside & self._mask[torch.arange(len(action)), op, site, colour]
        if not legal.all():
            env = int((~legal).nonzero()[0])
            reason = self._reason(env, action[env])
            raise IllegalActionError(f"illegal action {action[env].tolist()} in env {env}: {reason}")

    def _reason(self, env: int, action: torch.Tensor) -> str:
        op = int(action[0])
        if op == WAIT:
            return "WAIT goes with site 0 and colour 0"
        if op == ANSWER and self._step_in_episode[env] != self._question_step[env]:
            return f"ANSWER is legal only at the question (step {int(self._question_step[env])})"
        pairs = [tuple(pair) for pair in self._answers[env].nonzero().tolist()]
        return f"legal actions are WAIT (0, 0) and ANSWER with (site, colour) in {pairs}"

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Return a legal joint action per env, uniformly drawn from the env's own generator."""
        score = torch.rand(self._mask.shape, generator=self._generator).masked_fill_(~self._mask, -1.0)
        flat = score.flatten(1).argmax(-1)
        action = torch.stack(torch.unravel_index(flat, score.shape[1:]), -1)
        out = TensorDict(batch_size=self.batch_size) if tensordict is None else tensordict
        return out.set(keys.ACTION, action)


def _largest(score: torch.Tensor, count: int) -> torch.Tensor:
    """Return where the `count` largest scores of the last axis lie, bool of score's shape."""
    return torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(count, -1).indices, True)
