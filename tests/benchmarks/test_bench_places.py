import os

import pytest
import torch
from comparison import Floor
from host import Host
from timing import Case

FLOOR = Floor(8e9, "copy", lambda: lambda: None)


def test_a_gpu_times_graph_and_eager_and_reckons_the_floor(fake_gpu):
    clock = fake_gpu.gpu.clock
    clock.ms = {"copy": 2.0, "read: torch.sum": 2.0, "read: bare": 1.0, "cuda, graph": 5.0}
    cases = fake_gpu.ours("cuda", lambda: None)
    assert [case.name for case in cases] == ["cuda, graph", "cuda, eager"]
    assert [case.queued for case in cases] == [True, False]
    found = fake_gpu.compare("select x", 10, 1.0, cases, FLOOR, 3)
    assert found.rates == {"copy": 2e12, "read": 2e12}  # the faster read of two
    assert list(found.ms) == ["cuda, graph", "copy rate", "cuda, eager"]
    assert found.ms["copy rate"] == pytest.approx(4.0)
    assert found.floor == "copy rate"
    assert found.as_json()["of_floor"] == pytest.approx(1.25)


def test_what_fails_on_a_gpu_is_left_out_with_its_reason(fake_gpu):
    def capture(run):
        raise RuntimeError("operation not permitted when stream is capturing")

    def fail():
        raise torch.cuda.OutOfMemoryError("no more")

    def works():
        pass

    fake_gpu.gpu.capture = capture
    cases = [*fake_gpu.ours("cuda", lambda: None), Case("greedy", fail)]
    fake_gpu.missing = {"triton": "this build holds cpu"}
    found = fake_gpu.compare("x", 1, 1.0, cases, FLOOR, 1, left_out={"other": "too slow"})
    assert list(found.ms) == ["cuda, eager", "copy rate"]
    assert set(found.left_out) == {"cuda, graph", "triton, graph", "greedy", "other"}
    assert found.left_out["cuda, graph"] == (
        "CaptureError: RuntimeError: operation not permitted when stream is capturing"
    )
    assert found.left_out["greedy"] == "OutOfMemoryError: no more"
    again = [Case("other", works)]
    assert fake_gpu.compare("y", 1, 1.0, again, FLOOR, 1).left_out == {
        "triton, graph": "this build holds cpu"
    }


def test_runs_are_of_their_own_backend(fake_gpu):
    seen = []
    for label in ("cuda", "triton"):
        for case in fake_gpu.ours(label, lambda: seen.append(os.environ["IMPCORE_BACKEND"])):
            case.run()
    # Each is run by its capture, replayed, and called.
    assert seen == ["cpu"] * 3 + ["reference"] * 3
    assert os.environ["IMPCORE_BACKEND"] == ""


def test_the_host_runs_its_floor_second():
    order = []
    floor = Floor(1.0, "read", lambda: lambda: order.append("floor"))
    cases = [Case(name, lambda name=name: order.append(name)) for name in ("ours", "theirs")]
    found = Host().compare("x", 1, 1.0, cases, floor, 1)
    assert order == ["ours", "floor", "theirs"] * 2
    assert list(found.ms) == ["ours", "floor", "theirs"]


def test_the_host_sees_a_peak():
    size = 64 << 20
    peak = Host().peak(lambda: torch.ones(size // 4))
    assert peak is None or 0.9 * size < peak < 1.5 * size
