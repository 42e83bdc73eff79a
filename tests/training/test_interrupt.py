from __future__ import annotations

import os
import signal
import threading

import pytest

from tamiyo_trl.training.interrupt import deferred_interrupt


@pytest.fixture(autouse=True, params=[signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def number(request):
    """Both signals end a program by default; started by nohup or a scheduler, the tests set them up themselves."""
    old = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield request.param
    for each, handler in old.items():
        signal.signal(each, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_the_first_interrupt_waits_and_is_reported(number):
    before, finished = signal.getsignal(number), False
    with deferred_interrupt() as interrupt:
        send(number)
        finished = True
    assert finished
    assert interrupt.pending
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_interrupt_does_not_wait(number, second):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():  # noqa: PT012 (two signals are the claim)
        send(number)
        send(second)
    assert signal.getsignal(number) is before


def test_an_ignored_interrupt_stays_ignored_and_a_termination_still_waits():
    """As under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_interrupt() as interrupt:
        send(signal.SIGINT)
        assert not interrupt.pending
        send(signal.SIGTERM)
        assert interrupt.pending
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


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


def test_a_program_that_handles_interrupts_itself_keeps_doing_so(number):
    seen = []
    signal.signal(number, lambda *_: seen.append(1))
    with deferred_interrupt() as interrupt:
        send(number)
    assert seen == [1]
    assert not interrupt.pending
