"""What exists before a run is left out of its collections, and nothing made in it is."""

from __future__ import annotations

import gc
import weakref

from impcore.imp.garbage_collector import paused, spared


class Node:
    """Garbage that only a collection frees, once there is a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_only_what_the_block_makes_is_collected_in_it() -> None:
    gc.collect()
    before = weakref.ref(Node())
    with spared():
        within = weakref.ref(Node())
        gc.collect()
        assert within() is None
        assert before() is not None
    gc.collect()
    assert before() is None
    assert gc.get_freeze_count() == 0


def test_blocks_one_after_the_other_spare_anew() -> None:
    with spared():
        first = gc.get_freeze_count()
    kept = [Node() for _ in range(1000)]
    with spared():
        assert gc.get_freeze_count() > first
    assert kept


def test_what_a_caller_has_frozen_stays_frozen() -> None:
    gc.collect()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        later = weakref.ref(Node())
        with spared():
            within = weakref.ref(Node())
            gc.collect()
            assert within() is None
            assert later() is None
        assert gc.get_freeze_count() >= 0.9 * frozen
    finally:
        gc.unfreeze()


def test_nothing_is_collected_in_a_pause_and_all_of_it_after() -> None:
    gc.collect()
    with paused():
        assert not gc.isenabled()
        within = weakref.ref(Node())
        made = [[Node()] for _ in range(5000)]
        assert within() is not None
    assert gc.isenabled()
    gc.collect()
    assert within() is None
    assert made


def test_a_pause_leaves_a_collector_that_is_off_as_it_is() -> None:
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
