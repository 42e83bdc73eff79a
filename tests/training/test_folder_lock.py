"""One folder has one writer, and a dead writer holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.training.folder_lock import FolderLock

HOLD = """
import sys, time
from pathlib import Path
from tamiyo_trl.training.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_the_second_writer_is_told_who_writes(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(RunFolderError, match=rf"being written by another process \(number {os.getpid()}\)"):
        FolderLock(tmp_path)
    lock.close()
    lock.close()
    FolderLock(tmp_path).close()


@pytest.mark.slow
def test_a_killed_writer_holds_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=rf"number {process.pid}\)"):
            FolderLock(tmp_path)
        process.send_signal(signal.SIGKILL)
    FolderLock(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="cannot write to .*nowhere: No such file"):
        FolderLock(tmp_path / "nowhere")
