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
    longer = evidence / "long/report.md"
    pages = [(evidence / "ab/report.md").read_text(), (evidence / "memories/README.md").read_text()]
    shown = section(*pages, longer.read_text() if longer.exists() else "")
    return MARKS.sub(lambda found: found[1] + shown + found[2], readme)


def section(ab: str, memories: str, longer: str = "") -> str:
    """Return the verdicts of the A/B and of its longer runs if any, the table of all controllers, and their sources."""
    found, schedule = verdicts_of(ab), verdicts_of(memories)
    episodes = re.search(r"([\d,]+) episodes each", longer)
    start = f"- A hint from few seeds, with {episodes[1]} episodes: " if episodes else ""
    later = [start + line[2:] for line in verdicts_of(longer)] if episodes else []
    verdicts = found + later + schedule
    table = [line for line in memories.splitlines() if line.startswith("|")]
    hosts = re.search(r"# Controllers on (\d+) held-out hosts", memories)
    commands = [re.search(r"- command: `(.*)`", ab), re.search(r"Made by `(.*)`", memories)]
    if not found or not schedule or not table or hosts is None or None in commands:
        raise ValueError("the evidence lacks its verdicts, its table or its commands")
    made = " and ".join(f"`{command[1]}`" for command in commands if command)
    more = " · [the longer runs](docs/results/evidence/long/report.md)" if later else ""
    return f"""{chr(10).join(verdicts)}

{chr(10).join(table)}

Mean and 95% bootstrap interval over n = {hosts[1]} held-out hosts, the same for every controller; made by {made}.
[Report](docs/results/evidence/ab/report.md){more} · [how it was measured](docs/evidence.md).
"""


def verdicts_of(page: str) -> list[str]:
    """Return the items above a page's first section."""
    return [line for line in page.split("\n## ")[0].splitlines() if line.startswith("- ")]


if __name__ == "__main__":
    sys.exit(main())
