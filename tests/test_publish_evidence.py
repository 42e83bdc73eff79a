"""What the README shows of the evidence is what the committed results say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
MEMORIES = """# Controllers on 64 held-out hosts

| controller | training seeds | final test accuracy % | gain over never-grow | over the fixed schedule | added |
|---|---|---|---|---|---|
| never-grow |  | 33.0 | +0.0 | -12.0 | 0 |
| fixed schedule |  | 45.0 | +12.0 | +0.0 | 9 |
| oracle |  | 48.0 | +15.0 | +3.0 | 9 |
| gru on `minimal` | 5 | 44.0 | +11.0 | -1.0 | 7 |
| mlp on `minimal` | 5 | 44.1 | +11.1 | -0.9 | 7 |
| lstm on `minimal` | 5 | 44.2 | +11.2 | -0.8 | 7 |
"""
README = "# x\n\n<!-- evidence: docs/results/evidence -->\nold\n<!-- end of evidence -->\n\nrest\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish_evidence", ROOT / "docs" / "publish_evidence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_section_is_made_of_the_results(script, tmp_path):
    (tmp_path / "memories").mkdir()
    (tmp_path / "memories/README.md").write_text(MEMORIES)
    shown = script.filled(README, tmp_path)
    assert shown.startswith("# x\n")
    assert shown.endswith("<!-- end of evidence -->\n\nrest\n")
    assert "old" not in shown
    assert "| lstm on `minimal` | 5 | 44.2 | +11.2 | -0.8 |\n" in shown
    assert "gru" not in shown
    assert script.filled(shown, tmp_path) == shown
    with pytest.raises(ValueError, match="lacks its table"):
        script.section("no table")


def test_the_sentence_above_the_table_is_true(script):
    """LSTM and MLP end alike: their means lie within each other's interval."""
    table = (script.EVIDENCE / "memories/README.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[3] for line in table.splitlines() if line.startswith("|")}
    found = {name: [float(x) for x in re.findall(r"[-\d.]+", rows[f"{name} on `minimal`"])] for name in ("lstm", "mlp")}
    for one, other in (("lstm", "mlp"), ("mlp", "lstm")):
        mean, (_, low, high) = found[one][0], found[other]
        assert low <= mean <= high


def test_the_readme_agrees_with_the_committed_results(script):
    """Where the README has an evidence section it is the present one; results are not committed without being shown."""
    readme = (ROOT / "README.md").read_text()
    committed = (script.EVIDENCE / "memories" / "README.md").exists()
    assert bool(script.MARKS.search(readme)) == committed
    if committed:
        assert script.filled(readme, script.EVIDENCE) == readme
