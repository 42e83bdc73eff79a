"""The wheel holds everything and nothing else; `transforms` is importable only as `tamiyo_trl.transforms`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]


def packages_on_disk() -> set[str]:
    """Return every package of the library, by dotted name."""
    inside = {path.parent.relative_to(ROOT) for path in (ROOT / "tamiyo_trl").rglob("__init__.py")}
    names = {".".join(path.parts) for path in inside}
    below = {path.parent.relative_to(ROOT) for path in (ROOT / "transforms").rglob("__init__.py")}
    return names | {"tamiyo_trl." + ".".join(path.parts) for path in below}


def test_package_list_equals_the_disk():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == packages_on_disk()


def test_transforms_link_leads_to_the_top_level_folder():
    link = ROOT / "tamiyo_trl" / "transforms"
    assert link.is_symlink()
    assert link.readlink() == Path("../transforms")


def test_plain_transforms_import_is_refused_with_help():
    result = subprocess.run(
        [sys.executable, "-c", "import transforms"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "tamiyo_trl.transforms" in result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "build", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "out"), str(source)],
        check=True,
        capture_output=True,
    )
    return next((folder / "out").glob("*.whl"))


@pytest.mark.slow
def test_wheel_misses_nothing_and_leaks_nothing(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(ROOT)) for path in (ROOT / "tamiyo_trl").rglob("*.py") if "transforms" not in path.parts
    }
    sources |= {f"tamiyo_trl/{path.relative_to(ROOT)}" for path in (ROOT / "transforms").rglob("*.py")}
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "tamiyo_trl/grow/controllers").glob("*-*.*")}
    assert len(shipped) >= 2
    assert held == sources | shipped | {"tamiyo_trl/py.typed"}


@pytest.mark.slow
def test_installed_wheel_serves_the_public_names(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import tamiyo_trl.envs as e, tamiyo_trl.policies as p, tamiyo_trl.objectives as o, tamiyo_trl.training as t, "
        "tamiyo_trl.evaluation as v, tamiyo_trl.transforms as x\n"
        "e.GrowthEnv, e.GrowthConfig, e.LifecycleConfig, e.RecallEnv\n"
        "p.make_actor_critic, p.MaskedHeads, p.NeverGrow, p.RandomLegal, p.FixedSchedule, p.Heuristic\n"
        "o.PPOConfig, o.PPOLearner, o.check_ratio\n"
        "t.make_collector, t.train, t.TrainConfig, t.save_checkpoint, t.load_checkpoint\n"
        "v.evaluate, x.FlatAction, x.HiddenStateReset\n"
        "assert e.__file__.startswith(__import__('sys').argv[1]), e.__file__"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1])\n{code}", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_editable_install_serves_the_checkout(tmp_path):
    code = "import tamiyo_trl.transforms as t, tamiyo_trl.envs as e; print(t.__file__); print(e.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    served = [Path(line).resolve() for line in result.stdout.split()]
    assert served == [ROOT / "transforms" / "__init__.py", ROOT / "tamiyo_trl" / "envs" / "__init__.py"]


def test_recipes_shadow_no_module():
    for path in (ROOT / "recipes").glob("*.py"):
        assert path.stem not in sys.stdlib_module_names
        assert path.stem not in {"torch", "torchrl", "tensordict", "torchvision", "numpy", "popgym", "tamiyo_trl"}
