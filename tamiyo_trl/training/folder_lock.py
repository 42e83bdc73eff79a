"""A lock that lets one process at a time write to a folder, and that dies with its owner."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tamiyo_trl.errors import RunFolderError

LOCK = ".lock"


class FolderLock:
    """Holds `folder` for this process until `close`; the system releases it however the process ends.

    The file stays, empty of meaning: who holds the lock is what the system says, the text in it only helps a reader.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            RunFolderError: another process holds it, named by its number; or the file cannot be written.
        """
        path = folder / LOCK
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunFolderError(f"cannot write to {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise RunFolderError(
                f"{folder} is being written by another process (number {holder}): let it end"
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """Let others write to the folder; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
