"""What every recipe's main does, whatever the recipe."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest
import torch

from tamiyo_trl import cli
from tamiyo_trl.errors import ConfigError


@dataclass(frozen=True)
class Args:
    """Settings.

    Attributes:
        size: A number.
        threads: Threads.
    """

    size: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size must be at least 1: {self.size}")


def test_run_is_given_the_settings_and_the_line_that_gave_them():
    seen = []
    assert cli.main(Args, lambda args, argv: seen.append((args, argv)), None, ["--size", "3"]) == 0
    assert seen == [(Args(size=3), ["--size", "3"])]


def test_the_status_is_what_run_returns():
    assert cli.main(Args, lambda args, argv: 7, None, []) == 7


def test_as_many_threads_work_as_the_settings_say():
    before = torch.get_num_threads()
    try:
        seen = []
        cli.main(Args, lambda args, argv: seen.append(torch.get_num_threads()), None, ["--threads", "2"])
        assert seen == [2]
    finally:
        torch.set_num_threads(before)


def fail(args: Args, argv: list[str]) -> None:
    raise ConfigError("no such thing: 5")


@pytest.mark.parametrize(
    ("run", "argv", "line"),
    [(fail, [], "error: no such thing: 5\n"), (fail, ["--size", "0"], "error: size must be at least 1: 0\n")],
)
def test_an_error_is_one_line_and_status_2(capsys, run, argv, line):
    assert cli.main(Args, run, None, argv) == 2
    assert capsys.readouterr().err == line


def test_a_mistake_of_the_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.main(Args, lambda args, argv: 1 // 0, None, [])


@pytest.mark.parametrize(
    ("number", "ctrl_c"),
    [
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_IGN),
    ],
)
def test_a_signal_to_stop_is_status_130(capsys, number, ctrl_c):
    """Also where the shell has switched Ctrl-C off, as it does in the background: SIGTERM still stops."""
    before = signal.signal(signal.SIGINT, ctrl_c)
    try:
        status = cli.main(Args, lambda args, argv: signal.raise_signal(number), None, [], stopped="saved")
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    assert capsys.readouterr().err == "\nsaved\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_program_s_own_stays():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        assert cli.main(Args, lambda args, argv: signal.raise_signal(signal.SIGTERM), None, []) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
