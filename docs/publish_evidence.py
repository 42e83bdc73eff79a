"""Show the committed evidence in the README: python docs/publish_evidence.py

The table and the verdicts are read from docs/results/evidence and written between the README's evidence marks.
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
    shown = section((evidence / "ab/report.md").read_text(), (evidence / "memories/README.md").read_text())
    return MARKS.sub(lambda found: found[1] + shown + found[2], readme)


def section(ab: str, memories: str) -> str:
    """Return the verdicts of the A/B, the table of all controllers, and where both come from."""
    heads = [page.split("\n## ")[0].splitlines() for page in (ab, memories)]
    verdicts = [line for head in heads for line in head if line.startswith("- ")]
    table = [line for line in memories.splitlines() if line.startswith("|")]
    hosts = re.search(r"# Controllers on (\d+) held-out hosts", memories)
    commands = [re.search(r"- command: `(.*)`", ab), re.search(r"Made by `(.*)`", memories)]
    if not verdicts or not table or hosts is None or None in commands:
        raise ValueError("the evidence lacks its verdicts, its table or its commands")
    made = " and ".join(f"`{command[1]}`" for command in commands if command)
    return f"""{chr(10).join(verdicts)}

{chr(10).join(table)}

Mean and 95% bootstrap interval over n = {hosts[1]} held-out hosts, the same for every controller; made by {made}.
[Report](docs/results/evidence/ab/report.md) · [how it was measured](docs/evidence.md).
"""


if __name__ == "__main__":
    sys.exit(main())
