"""What the README shows of the evidence is what the committed results say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
AB = """# Does memory make a better Tamiyo?

- final accuracy on `minimal`: no difference is shown (+0.1 [-0.2, +0.4], d = 0.20, 3 of 5, points).

## 1 Final accuracy

- not a verdict

| a | b |

- command: `python ab`
"""
MEMORIES = """# Controllers on 64 held-out hosts

- Against the best fixed schedule: worse.

| controller | gain |
|---|---|
| never-grow | +0.0 |

Made by `python memories`.
"""
README = "# x\n\n<!-- evidence: docs/results/evidence -->\nold\n<!-- end of evidence -->\n\nrest\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish_evidence", ROOT / "docs" / "publish_evidence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_section_is_made_of_the_results(script, tmp_path):
    for name, text in (("ab/report.md", AB), ("memories/README.md", MEMORIES)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    shown = script.filled(README, tmp_path)
    assert shown.startswith("# x\n")
    assert shown.endswith("<!-- end of evidence -->\n\nrest\n")
    assert "old" not in shown
    for part in (
        "- final accuracy on `minimal`: no",
        "| never-grow | +0.0 |",
        "n = 64 held-out",
        "`python ab`",
        "schedule: worse.",
    ):
        assert part in shown
    assert "not a verdict" not in shown
    assert "| a | b |" not in shown
    assert script.filled(shown, tmp_path) == shown
    assert "episodes:" not in shown
    longer = "# Again\n\n- On `summary` better.\n\n## 1\n\n- lstm: seeds 0, 1; 6,016 episodes each\n"
    (tmp_path / "long").mkdir()
    (tmp_path / "long/report.md").write_text(longer)
    assert "- A hint from few seeds, with 6,016 episodes: On `summary` better.\n" in script.filled(README, tmp_path)
    with pytest.raises(ValueError, match="lacks its verdicts"):
        script.section(AB, "- a verdict, no table")


def test_the_readme_agrees_with_the_committed_results(script):
    """Where the README has an evidence section it is the present one; results are not committed without being shown."""
    readme = (ROOT / "README.md").read_text()
    committed = (script.EVIDENCE / "memories" / "README.md").exists()
    assert bool(script.MARKS.search(readme)) == committed
    if committed:
        assert script.filled(readme, script.EVIDENCE) == readme
