"""What the README shows is what the committed results and the code say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_result_table_is_the_committed_reports():
    shown = re.search(r"<!-- results: (\S+) -->\n(.*?)<!-- end of results -->", README, re.DOTALL)
    report = (ROOT / shown[1] / "report.md").read_text()
    table = [line for line in report.splitlines() if line.startswith("|")]
    assert len(table) >= 7
    assert [line for line in shown[2].splitlines() if line.startswith("|")] == table
    command = re.search(r"- command: `(.*)`", report)[1]
    assert command in shown[2]


def test_library_example_runs(monkeypatch, capsys, tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    # The same example, shorter: fewer hosts, two updates.
    for long, short in (
        ("n_envs=32", "n_envs=4"),
        ("episodes=1024", "episodes=8"),
        ("runs/mine", str(tmp_path / "run")),
    ):
        assert long in code
        code = code.replace(long, short)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("final accuracy 0.") == 2


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
