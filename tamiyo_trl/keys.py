"""Every TensorDict key of the project, with its shape and dtype: the one place where names meet.

Axes: E envs (or any batch), A flat actions, D heads, F features, H hidden size, N recurrent layers.
Per-step values carry a trailing axis of 1 where TorchRL wants one.
"""

from __future__ import annotations

# What an environment shows.
OBSERVATION = "observation"  # float32 [E, F]
PRIVILEGED = "privileged"  # float32 [E, P]: what a privileged critic reads and a policy never sees
ACTION_MASK = "action_mask"  # bool [E, A] (one head), [E, sum(nvec)] (independent heads) or [E, *nvec] (joint actions)
ACTION = "action"  # int64 [E] (one head) or [E, D] (several)
REWARD = "reward"  # float32 [E, 1]
DONE, TERMINATED, TRUNCATED = "done", "terminated", "truncated"  # bool [E, 1]
IS_INIT = "is_init"  # bool [E, 1]: the first step of an episode (TorchRL's InitTracker)
EPISODE_REWARD = "episode_reward"  # float32 [E, 1] (TorchRL's RewardSum)

OBSERVED = "observed"  # float [E, F]: several observations side by side
FRAMES = "frames"  # float [E, window * F]: the latest observations side by side, oldest first

# What GrowthEnv reports beside the reward.
REWARD_PARTS = "reward_parts"  # nested: float32 [E, 1] each; they sum to the reward
INFO = "info"  # nested: measurements no policy reads; float32 [E, 1] each

# What the policy writes at collection and the learner reads.
ENCODED = "encoded"  # float32 [E, F']
CORE = "core"  # float32 [E, H]: the memory's output
LOGITS = "logits"  # float32 [E, sum(nvec)]
LOG_PROB = "action_log_prob"  # float32 [E]
STATE_VALUE = "state_value"  # float32 [E, 1]

# Recurrent state: what enters the step under the plain name, what leaves it under ("next", name).
HIDDEN_H = "recurrent_state_h"  # float32 [E, N, H]
HIDDEN_C = "recurrent_state_c"  # float32 [E, N, H]
HIDDEN = "recurrent_state"  # float32 [E, N, H] (GRU)

# What the learner adds.
ADVANTAGE = "advantage"  # float32 [E, 1]
VALUE_TARGET = "value_target"  # float32 [E, 1]
CHUNK = "chunk"  # int64 [E]: which slice of its row a step belongs to
