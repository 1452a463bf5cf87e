"""Clocks around a run's parts: exclusive, and all of the time, whatever is raised."""

import itertools

import pytest
from clocks import Clocks


@pytest.fixture
def clocks(monkeypatch):
    """Clocks of which each reading is a second after the last; the first one at 0."""
    seconds = itertools.count()
    monkeypatch.setattr("clocks.time.perf_counter", lambda: float(next(seconds)))
    return Clocks("rest")


def test_a_part_stops_the_clock_of_the_part_that_it_interrupts(clocks):
    inner = clocks.timed(lambda: None, "inner")
    outer = clocks.timed(lambda: [inner(), inner()], "outer")
    outer()
    outer()
    assert clocks.seconds() == {"outer": 6.0, "inner": 4.0, "rest": 3.0}


def test_what_is_raised_passes_and_is_counted(clocks):
    fails = clocks.timed(lambda: 1 / 0, "fails")
    with pytest.raises(ZeroDivisionError):
        fails()
    assert clocks.seconds() == {"rest": 2.0, "fails": 1.0}


def test_an_iterator_is_counted_while_it_is_asked(clocks):
    class Batches:
        def epoch(self, count):
            yield from range(count)

    clocks.around_items(Batches, "epoch", "batches")
    assert list(Batches().epoch(3)) == [0, 1, 2]
    assert clocks.seconds() == {"rest": 5.0, "batches": 4.0}  # the fourth finds the end


def test_open_parts_go_on_after_a_restart(clocks):
    before = clocks.timed(lambda: None, "before")
    inner = clocks.timed(clocks.restart, "inner")
    clocks.timed(lambda: [before(), inner()], "outer")()
    assert clocks.seconds() == {"inner": 1.0, "outer": 1.0, "rest": 1.0}
