"""One self-contained HTML page from a Markdown report: pictures inside, nothing to load."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0; display: block; overflow-x: auto }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left; white-space: nowrap }
img { max-width: 100%; height: auto } code { background: #f4f4f4; padding: 0 .2rem }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } td, th { border-color: #444 }
  code { background: #222 } img { background: white } }
"""


def self_contained(markdown: str, folder: Path) -> str:
    """Return the page; pictures are read from `folder`, where the report lies."""
    title = re.search(r"^# (.*)$", markdown, re.MULTILINE)
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = re.sub(r'<img src="([^":]+)"', lambda found: f'<img src="{_data(folder / found[1])}"', body)
    name = html.escape(title[1] if title else "Report")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{STYLE}</style></head><body>\n{body}</body></html>\n"
    )


def _data(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
