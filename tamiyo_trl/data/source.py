"""Where a task that is read from disk looks for its files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSource:
    """Where data sets lie.

    Attributes:
        root: Folder that holds data sets, e.g. `cifar-10-batches-py` or its unopened archive.
        download: Fetch what is missing.
    """

    root: str = "data"
    download: bool = False
