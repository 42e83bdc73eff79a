"""stub"""

from __future__ import annotations

EXAM_STAGES = ()


def examine(run, f): ...
