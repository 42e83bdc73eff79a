"""TorchRL transforms of this project; they depend on torch, tensordict and torchrl alone."""

if __name__ == "transforms":
    raise ImportError("this folder is part of tamiyo_trl: import it as `tamiyo_trl.transforms`")

from .flat_action import FlatAction, joint_actions
from .float_reward_sum import FloatRewardSum
from .frame_stack import FrameStack
from .hidden_state_reset import HiddenStateReset
from .previous_action import PreviousAction
from .side_by_side import SideBySide
from .snapshot import Snapshot

__all__ = [
    "FlatAction",
    "FloatRewardSum",
    "FrameStack",
    "HiddenStateReset",
    "PreviousAction",
    "SideBySide",
    "Snapshot",
    "joint_actions",
]
