"""Ctrl-C that waits for the end of an update, so that a checkpoint never holds half of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether an interrupt arrived while it was deferred."""

    pending: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Hold back the first SIGINT inside the block and report it; a second one interrupts at once.

    Outside the main thread, which alone receives signals, this does nothing; so it does where the program has replaced
    Python's own handler.
    """
    interrupt = Interrupt()
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return

    def hold(signum: int, frame: FrameType | None) -> None:
        interrupt.pending = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, hold)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
