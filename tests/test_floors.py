"""Imports go downward only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The floors, lowest first. A module imports from its own room and from lower floors, less what FORBIDDEN takes away.
FLOORS = [
    {"keys", "errors", "seeding", "files", "transforms"},
    {"lockstep", "data", "cli"},
    {"seeds"},
    {"hosts", "policies"},
    {"envs", "collectors", "objectives"},
    {"training"},
    {"evaluation"},
    {"grow"},
    {"studies"},
]
FORBIDDEN = {
    "policies": {"lockstep", "data", "cli"},
    "envs": {"policies", "cli"},
    "collectors": {"lockstep", "data", "cli", "seeds", "hosts"},
    "objectives": {"lockstep", "data", "cli", "seeds", "hosts"},
}


def allowed(part: str) -> set[str]:
    """Return the rooms that a module of `part` may import."""
    floor = next(index for index, rooms in enumerate(FLOORS) if part in rooms)
    lower = set().union(*FLOORS[:floor]) if part != "transforms" else set()
    return (lower | {part}) - FORBIDDEN.get(part, set())


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
    forbidden = imported(path) - allowed(part)
    assert not forbidden, f"{part} may not import {sorted(forbidden)}"


def test_every_part_has_a_floor():
    parts = {module_of(path)[0] for path in SOURCES} - {"__init__"}
    assert parts == set().union(*FLOORS)


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
