"""The calls to torch.cuda that a timing consists of, in their order; torch.cuda itself is faked."""

from contextlib import contextmanager
from types import SimpleNamespace

import cuda_device
import pytest
import torch
from timing import Case


class Fake:
    """What `cuda_device` uses of torch.cuda, on the CPU, writing down what is called."""

    def __init__(self):
        self.log = []
        self.current = "main"
        self.fails = False
        log = self.log

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                log.append("record")

            def synchronize(self):
                log.append("wait for the end")

            def elapsed_time(self, end):
                return 1.5

        self.Event = Event
        self.CUDAGraph = lambda: SimpleNamespace(replay=lambda: log.append("replay"))

    def get_device_properties(self, device):
        return SimpleNamespace(L2_cache_size=60 << 20, name="Fake")

    def synchronize(self):
        self.log.append("synchronize")

    def current_stream(self, device):
        return SimpleNamespace(name=self.current, wait_stream=self.waited(self.current))

    def Stream(self, device):
        return SimpleNamespace(name="side", wait_stream=self.waited("side"))

    def waited(self, name):
        return lambda other: self.log.append(f"{name} waits for {other.name}")

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    @contextmanager
    def graph(self, graph):
        self.current = "capturing"
        yield
        if self.fails:  # as capture_end does, before the stream is put back
            raise RuntimeError("capture was invalidated")
        self.current = "main"

    def set_stream(self, stream):
        self.current = stream.name


@pytest.fixture
def fake(monkeypatch):
    fake = Fake()
    monkeypatch.setattr(cuda_device.torch, "cuda", fake)
    monkeypatch.setattr(cuda_device, "FLUSH", 1 << 12)
    return fake


@pytest.mark.parametrize("queued", [True, False])
def test_a_sample_begins_cold_and_behind_the_flush_only_if_queued(fake, queued, monkeypatch):
    monkeypatch.setattr(fake, "get_device_properties", lambda device: object())
    clock = cuda_device.CudaClock(torch.device("cpu"))
    clock._flush.fill_(1.0)
    assert clock._flush.nbytes == 1 << 12
    case = Case("x", lambda: fake.log.append("run"), lambda: fake.log.append("prepare"))
    case.queued = queued
    assert clock.sample(case) == 1.5
    assert clock._flush.eq(0).all()
    idle = [] if queued else ["synchronize"]
    assert fake.log == ["prepare", *idle, "record", "run", "record", "wait for the end"]


def test_the_flush_is_four_times_the_cache(fake):
    assert cuda_device.CudaClock(torch.device("cpu"))._flush.nbytes == 4 * (60 << 20)


def bare(fake):
    device = object.__new__(cuda_device.CudaDevice)
    device.device = torch.device("cpu")
    return device


def test_a_capture_warms_up_aside_and_replays(fake):
    device = bare(fake)
    replay = device.capture(lambda: fake.log.append(f"run on {fake.current}"))
    assert fake.log == [
        "side waits for main", "run on side", "run on side", "main waits for side", "synchronize",
        "run on capturing",
    ]  # fmt: skip
    replay()
    assert fake.log[-1] == "replay"


def test_a_capture_that_fails_leaves_the_stream_as_it_was(fake):
    fake.fails = True
    with pytest.raises(RuntimeError, match="invalidated"):
        bare(fake).capture(lambda: None)
    assert fake.current == "main"


def test_rates_name_what_they_move(monkeypatch):
    monkeypatch.setattr(cuda_device, "BUFFER", 1 << 12)
    device = object.__new__(cuda_device.CudaDevice)
    device._from, device._to = torch.randn(1 << 10), torch.zeros(1 << 10)
    device._sum = torch.zeros(())
    cases, moved = device.rates()
    assert [case.name for case in cases] == list(moved)
    assert moved["copy"] == 2 * moved["read: torch.sum"] == 2 * device._from.nbytes
    for case in cases[:2]:
        case.run()
    assert torch.equal(device._to, device._from)
    assert device._sum == device._from.sum()
