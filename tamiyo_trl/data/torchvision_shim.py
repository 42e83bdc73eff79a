"""Import torchvision beside a torch that its compiled operators were not built for.

Package indices serve torchvision with CUDA operators; beside a CPU-only torch they fail to load, and the import stops
at the first operator without a schema. Images and transforms need none of them: with the schemas declared, the import
works, and only the box operators stay unusable. Where torchvision imports by itself nothing is declared.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_OPERATORS = ("nms", "qnms")
_kept: list[torch.library.Library] = []  # a library that is collected takes its schemas with it


def import_torchvision() -> ModuleType:
    """Return torchvision.

    Raises:
        RuntimeError: it fails to import for another reason than missing operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    declare_operators()
    return importlib.import_module("torchvision")


def declare_operators() -> None:
    """Declare the schemas of torchvision's operators that have none."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
