import pytest
import timing
from timing import Case


class Clock:
    warms_all = False

    def __init__(self):
        self.order = []

    def sample(self, case):
        case.prepare()
        case.run()
        self.order.append(case.name)
        return float(len(self.order))


def test_cases_take_turns_and_slow_ones_fewer():
    clock = Clock()
    cases = [Case("a", timing.nothing), Case("slow", timing.nothing, repeats=1)]
    ms = timing.measure(cases, 2, clock)
    assert clock.order == ["a", "a", "slow", "a"]
    assert ms == {"a": 3.0, "slow": 3.0}


def test_a_clock_may_warm_slow_cases_too():
    clock = Clock()
    clock.warms_all = True
    timing.measure([Case("slow", timing.nothing, repeats=1)], 3, clock)
    assert clock.order == ["slow", "slow"]


def test_a_failure_is_raised_or_leaves_the_others():
    def fail():
        raise RuntimeError("out of luck\nand more")

    cases = [Case("bad", fail), Case("good", timing.nothing)]
    with pytest.raises(RuntimeError):
        timing.measure(cases, 2)
    failed = {}
    assert list(timing.measure(cases, 2, failed=failed)) == ["good"]
    assert failed == {"bad": "RuntimeError: out of luck"}


def test_a_case_that_fails_late_has_no_time():
    calls = iter([None, None, RuntimeError("late")])

    def run():
        error = next(calls)
        if error:
            raise error

    failed = {}
    assert timing.measure([Case("late", run)], 3, failed=failed) == {}
    assert failed == {"late": "RuntimeError: late"}


def test_time_is_up_after_a_few_samples():
    clock = Clock()
    timing.measure([Case("a", timing.nothing)], 100, clock, seconds=0.0)
    assert len(clock.order) == 1 + timing.LEAST


def test_the_host_clock_times_the_run_alone():
    from time import sleep

    case = Case("a", timing.nothing, prepare=lambda: sleep(0.02))
    assert timing.HostClock().sample(case) < 10
