from __future__ import annotations

import random

import numpy as np
import torch

from tamiyo_trl.collectors.streams import Streams


def draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.rand()), random.random()


def test_a_run_draws_the_same_numbers_whatever_its_surroundings_draw():
    first, second = Streams(0), Streams(0)
    with first.active():
        expected = [draw(), draw()]
    with second.active():
        got = [draw()]
    torch.manual_seed(5)
    draw()
    with second.active():
        got.append(draw())
    assert got == expected


def test_the_surroundings_draw_the_same_numbers_whatever_the_run_draws():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = [draw(), draw()]
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    got = [draw()]
    with Streams(3).active():
        draw()
    got.append(draw())
    assert got == expected


def test_seeds_give_unrelated_streams():
    drawn = []
    for seed in (0, 1):
        with Streams(seed).active():
            drawn.append(draw())
    assert all(a != b for a, b in zip(*drawn))


def test_a_saved_state_continues_where_it_was():
    streams = Streams(0)
    with streams.active():
        draw()
    saved = streams.state
    with streams.active():
        expected = draw()
    other = Streams(7)
    other.state = saved
    with other.active():
        assert draw() == expected
