"""A harness that kills a run again and again, with `kill -9`, at moments nobody chose."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable


def run_with_kills(work: Callable[[], None], progress: Callable[[], int], *, kills: int, seed: int) -> int:
    """Run `work` in a child process, kill it `kills` times, let it finish, and return how many kills there were.

    A life ends a random while after `progress()` (read from the run's files) has grown by zero to two, so that every
    moment of an update and of a checkpoint is as likely as it is long, on a fast machine and on a slow one. `work` must
    begin or resume the run by itself, and be long enough to be killed `kills` times.

    Raises:
        RuntimeError: the work failed by itself.
    """
    draw, done, pace = random.Random(seed), 0, 0.05
    while True:
        child = _fork(work)
        if done < kills:
            born, before, wanted = time.monotonic(), progress(), draw.randint(0, 2)
            while progress() < before + wanted and _alive(child):
                time.sleep(0.001)
            if wanted:
                pace = (time.monotonic() - born) / wanted
            time.sleep(draw.uniform(0, pace))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            done += 1
        elif os.WEXITSTATUS(status):
            raise RuntimeError(f"the work failed with exit status {os.WEXITSTATUS(status)}")
        else:
            return done


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 (whatever it is, the child must not return into the tests)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _alive(child: int) -> bool:
    """Return whether the child still runs; one that has ended is left for `waitpid`."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
