"""Show the committed evidence in the README: python docs/publish_evidence.py

The table is read from docs/results/evidence and written between the README's evidence marks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "docs" / "results" / "evidence"
MARKS = re.compile(r"(<!-- evidence: docs/results/evidence -->\n).*?(<!-- end of evidence -->)", re.DOTALL)


def main() -> int:
    """Rewrite the README's evidence section; return the exit status."""
    missing = [path for path in (EVIDENCE / "ab/report.md", EVIDENCE / "memories/README.md") if not path.exists()]
    readme = ROOT / "README.md"
    text = readme.read_text()
    if missing or not MARKS.search(text):
        what = f"{missing[0]} is not there" if missing else "the README has no evidence marks"
        print(f"error: {what}", file=sys.stderr)
        return 2
    readme.write_text(filled(text, EVIDENCE))
    return 0


def filled(readme: str, evidence: Path) -> str:
    """Return the README with the section that the results in `evidence` give."""
    shown = section((evidence / "memories/README.md").read_text())
    return MARKS.sub(lambda found: found[1] + shown + found[2], readme)


SHOWN = ("never-grow", "fixed schedule", "oracle", "mlp on `minimal`", "lstm on `minimal`")
COLUMNS = ("controller", "training seeds", "final test accuracy %", "gain over never-grow", "over the fixed schedule")


def section(memories: str) -> str:
    """Return the rows and columns of the table of all controllers that a first screen needs, and where all of it is."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in memories.splitlines() if line[:1] == "|"]
    if not cells or not set(COLUMNS) <= set(cells[0]) or not set(SHOWN) <= {row[0] for row in cells}:
        raise ValueError("the evidence lacks its table of controllers")
    places = [cells[0].index(name) for name in COLUMNS]
    chosen = [next(row for row in cells if row[0] == name) for name in SHOWN]
    table = [COLUMNS, ("---",) * len(COLUMNS), *([row[place] for place in places] for row in chosen)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"""{lines}

Mean and 95% bootstrap interval over held-out hosts, the same for every controller; the oracle knows what is wrong.
[All controllers](docs/results/evidence/memories/README.md) · [report](docs/results/evidence/ab/report.md) ·
[longer runs](docs/results/evidence/long/report.md) · [how it was measured](docs/evidence.md).
"""


if __name__ == "__main__":
    sys.exit(main())
