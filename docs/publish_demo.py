"""Keep the demo's results in docs/results/demo and show their table in the README: python docs/publish_demo.py"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN, KEPT = ROOT / "runs" / "demo", ROOT / "docs" / "results" / "demo"
FILES = ("report.md", "config.json", "metrics.csv", "episodes.csv", "learning_curve.png", "timeline.png")
MARKS = re.compile(r"(<!-- results: docs/results/demo -->\n).*?(<!-- end of results -->)", re.DOTALL)


def main() -> int:
    """Copy the finished demo and rewrite the README's result section; return the exit status."""
    if not (RUN / "report.md").exists():
        print(f"error: {RUN} holds no finished run: make demo", file=sys.stderr)
        return 2
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(RUN / name, KEPT / name)
    readme = ROOT / "README.md"
    shown = section((KEPT / "report.md").read_text())
    readme.write_text(MARKS.sub(lambda found: found[1] + shown + found[2], readme.read_text()))
    return 0


def section(report: str) -> str:
    """Return the README's result section: the report's verdict, table, command and length, and the timeline."""
    verdict = report.splitlines()[2]
    table = "\n".join(line for line in report.splitlines() if line.startswith("|"))
    patterns = (r"## Controllers on (\d+) held-out hosts", r"- training: (.*) in", r"- command: `(.*)`")
    hosts, length, command = (re.findall(pattern, report)[0] for pattern in patterns)
    return f"""{verdict}

{table}

Mean and 95% bootstrap interval over n = {hosts} held-out hosts, the same for every controller; one training run of
{length} by `make demo` (`{command}`).
Test digits are seen by neither training nor reward. [Report](docs/results/demo/report.md).

![Three held-out episodes: accuracy, and below it each seed's life](docs/results/demo/timeline.png)
"""


if __name__ == "__main__":
    sys.exit(main())
