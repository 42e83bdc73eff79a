"""Jobs run a few at a time, their failures are told, and a stop reaches all of them so that they can save."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamiyo_trl.studies import jobs
from tamiyo_trl.studies.jobs import Job, obey_parent, run_jobs

ROOT = Path(__file__).parents[2]
# The library without its imports of torch: a job that starts at once.
LOAD = f"""
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("jobs", {str(ROOT / "tamiyo_trl" / "studies" / "jobs.py")!r})
jobs = sys.modules["jobs"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jobs)
"""
PATIENT = (
    LOAD
    + """
check = jobs.obey_parent()
Path(sys.argv[1]).write_text("started")
try:
    while True:
        time.sleep(0.02)
        check()
except KeyboardInterrupt:
    Path(sys.argv[1]).write_text("saved")
"""
)


def job(folder: Path, name: str, code: str, *arguments: str) -> Job:
    return Job(name, (sys.executable, "-c", code, *arguments), folder / f"{name}.log")


def wait_for(path: Path, content: str) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text() == content):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_failures_are_returned_with_what_they_printed_and_the_others_run(tmp_path):
    most = 0

    def tick(running: list[Job]) -> None:
        nonlocal most
        most = max(most, len(running))

    todo = [
        job(tmp_path, "bad", "print('no such thing'); raise SystemExit(3)"),
        *(job(tmp_path, f"good{n}", f"open({str(tmp_path / str(n))!r}, 'w')") for n in range(3)),
    ]
    (failure,) = run_jobs(todo, at_once=2, on_tick=tick, every=0.02)
    assert (failure.job.name, failure.status, failure.tail) == ("bad", 3, "no such thing")
    assert all((tmp_path / str(n)).exists() for n in range(3))
    assert most <= 2


def test_a_stop_is_passed_on_and_waited_for(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    todo = [job(tmp_path, file.name, PATIENT, str(file)) for file in files]

    def tick(running: list[Job]) -> None:
        if all(file.exists() and file.read_text() == "started" for file in files):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(todo, at_once=2, on_tick=tick, every=0.02)
    assert [file.read_text() for file in files] == ["saved", "saved"]


def test_a_job_whose_parent_is_killed_saves_and_ends(tmp_path):
    file = tmp_path / "a"
    parent = (
        LOAD
        + f"""
job = jobs.Job("a", (sys.executable, "-c", {PATIENT!r}, {str(file)!r}), Path({str(tmp_path / "a.log")!r}))
jobs.run_jobs([job], 1)
"""
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(file, "started")
    process.kill()
    process.wait()
    wait_for(file, "saved")


def test_without_a_parent_nothing_is_changed(monkeypatch):
    monkeypatch.delenv(jobs.PARENT, raising=False)
    obey_parent()()
