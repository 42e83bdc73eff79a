"""Ctrl-C and SIGTERM that wait for the end of an update, so that a checkpoint never holds half of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether a request to stop arrived while it was deferred."""

    pending: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Hold back the first SIGINT or SIGTERM inside the block and report it; a second one interrupts at once.

    Outside the main thread, which alone receives signals, this does nothing; so it does for a signal that is ignored
    (SIGINT under nohup) or that the program handles by itself.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if _ends(handler)}

    def hold(signum: int, frame: FrameType | None) -> None:
        interrupt.pending = True
        for number in before:
            signal.signal(number, signal.default_int_handler)

    for number in before:
        signal.signal(number, hold)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ends(handler: object) -> bool:
    """Return whether a signal with this handler would end the program or interrupt it."""
    return handler in (signal.default_int_handler, signal.SIG_DFL)
