from __future__ import annotations

import os
import signal
import threading

import pytest

from tamiyo_trl.training.interrupt import deferred_interrupt

pytestmark = pytest.mark.slow


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_waits_and_is_reported():
    finished = False
    with deferred_interrupt() as interrupt:
        ctrl_c()
        finished = True
    assert finished
    assert interrupt.pending
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():  # noqa: PT012 (two signals are the claim)
        ctrl_c()
        ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_reported_where_nothing_happened_and_other_threads_are_left_alone():
    found = []

    def work() -> None:
        with deferred_interrupt() as interrupt:
            found.append(interrupt.pending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with deferred_interrupt() as interrupt:
        pass
    assert found == [False]
    assert not interrupt.pending


def test_a_program_that_handles_interrupts_itself_keeps_doing_so():
    seen = []
    old = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with deferred_interrupt() as interrupt:
            ctrl_c()
        assert seen == [1]
        assert not interrupt.pending
    finally:
        signal.signal(signal.SIGINT, old)
