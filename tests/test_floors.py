"""Imports go downward only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What a module of this part may import of the library; its own part is always allowed.
ALLOWED = {
    "keys": set(),
    "errors": set(),
    "seeding": set(),
    "seeds": {"keys", "errors", "seeding"},
    "data": {"keys", "errors", "seeding"},
    "hosts": {"keys", "errors", "seeding", "seeds", "data"},
    "transforms": set(),
    "envs": {"keys", "errors", "seeding", "seeds", "data", "hosts", "transforms"},
    "policies": {"keys", "errors", "seeding", "transforms"},
    "objectives": {"keys", "errors", "seeding", "transforms", "policies"},
    "training": {"keys", "errors", "seeding", "transforms", "policies", "objectives", "seeds", "data", "hosts", "envs"},
    "evaluation": {
        *("keys", "errors", "seeding", "transforms", "policies", "objectives", "seeds", "data", "hosts", "envs"),
        "training",
    },
}
SOURCES = sorted(path for path in (ROOT / "tamiyo_trl").rglob("*.py") if "transforms" not in path.parts)
SOURCES += sorted((ROOT / "transforms").rglob("*.py"))


def module_of(path: Path) -> list[str]:
    """Return the module's dotted place below `tamiyo_trl`, e.g. ["envs", "growth"]."""
    relative = path.relative_to(ROOT)
    parts = list(relative.with_suffix("").parts)
    return parts if parts[0] == "transforms" else parts[1:]


def imported(path: Path) -> set[str]:
    """Return the parts of the library that this file imports, at any depth of its code."""
    here = module_of(path)
    package = here[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            target = base + (node.module.split(".") if node.module else [])
            found |= {target[0]} if target else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tamiyo_trl":
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] for name in names if name[0] == "tamiyo_trl" and len(name) > 1}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_lower_floors_only(path):
    part = module_of(path)[0]
    if part == "__init__":
        return
    forbidden = imported(path) - ALLOWED[part] - {part}
    assert not forbidden, f"{part} may not import {sorted(forbidden)}"


def test_every_part_has_a_floor():
    parts = {module_of(path)[0] for path in SOURCES} - {"__init__"}
    assert parts == set(ALLOWED)


def test_transforms_import_only_torch_tensordict_and_torchrl():
    for path in (ROOT / "transforms").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert roots <= {
                "__future__",
                "collections",
                "typing",
                "dataclasses",
                "math",
                "torch",
                "tensordict",
                "torchrl",
            }


def test_nobody_imports_a_recipe():
    for path in [*SOURCES, *(ROOT / "recipes").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            assert not (module or "").startswith("recipes"), path
