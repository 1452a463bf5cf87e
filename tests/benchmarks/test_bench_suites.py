"""Every suite from its jobs to its file, on networks that take no time."""

import argparse
import json
import os
from functools import partial

import bench_block_l1
import bench_mask
import bench_optim
import checks
import harness
import opponents
import pytest
import shapes
import subjects
import torch
from comparison import Comparison, Floor, Report, WrongError
from host import Host
from report import _panels as panels_of

import impcore
from impcore import ops
from impcore.errors import BackendError

TINY = [(16, 3, 3, 3), (64, 33), (7, 5)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(shapes.SHAPES, "tiny", lambda: TINY)


def gathered(reports):
    whole = Report()
    for report in reports:
        whole.add(report)
    return whole


def test_networks_have_the_weights_of_their_names():
    counts = {name: sum(map(_numel, shapes.SHAPES[name]())) for name in shapes.SHAPES}
    assert counts["resnet50"] == 25_502_912
    assert counts["bert-base"] == 85_524_480
    assert counts["llama-1b"] == 973_078_528
    assert counts["llama-7b"] == 6_476_005_376


def _numel(shape):
    return torch.Size(shape).numel()


def test_mask_on_a_gpu(fake_gpu, monkeypatch):
    monkeypatch.setattr(bench_mask, "WORKSPACE_FROM", {"cuda": 0})
    monkeypatch.setattr(bench_mask, "PEAK_FROM", 0)
    whole = gathered(bench_mask.network(fake_gpu, "tiny", 2))
    found = [(c.op, c.density) for c in whole.comparisons]
    assert found == [(f"{op} tiny", d) for d in bench_mask.DENSITIES for op in ("select", "prune")]
    both = {"cuda, graph", "cuda, eager", "triton, graph", "triton, eager", "copy rate"}
    assert all(both <= set(c.ms) for c in whole.comparisons)
    prune = whole.comparisons[1]
    assert set(opponents.ON_GPU) | {"torch.nn.utils.prune"} <= set(prune.ms)
    assert bench_mask.CUB in whole.comparisons[0].left_out  # there is no CUDA device here
    assert len(whole.facts) == 4
    assert prune.bytes == pytest.approx(12.375 * prune.n)


def test_selections_and_prunes_begin_with_the_masks_of_their_density(fake_gpu, monkeypatch):
    selection, seen = subjects.Subject.selection, []

    def watched(self, count):
        run = selection(self, count)

        def watched_run():
            alive = int(ops.bits.count(self.masks.words))
            nonzero = sum(int(torch.count_nonzero(w)) for w in self.weights)
            seen.append((alive, nonzero))
            return run()

        return watched_run

    monkeypatch.setattr(subjects.Subject, "selection", watched)
    total = sum(map(_numel, TINY))
    gathered(bench_mask.network(fake_gpu, "tiny", 2))
    assert all(alive == nonzero for alive, nonzero in seen)
    found = sorted({alive / total for alive, _ in seen})
    assert found == pytest.approx(sorted(bench_mask.DENSITIES), abs=1 / total)
    seen.clear()
    monkeypatch.setattr(bench_mask, "LAYOUTS", {"few": 2})
    gathered(bench_mask.sweep(Host(), 5000))
    assert set(seen) == {(5000, 5000)}


def test_a_gpu_leaves_the_opponents_out_where_they_do_not_fit(fake_gpu, monkeypatch):
    monkeypatch.setattr(bench_mask, "OPPONENTS_UP_TO", 100)
    select, prune = gathered(bench_mask.network(fake_gpu, "tiny", 1)).comparisons[:2]
    assert set(prune.left_out) == {*opponents.ON_GPU, "torch.nn.utils.prune"}
    assert set(select.left_out) == {bench_mask.CUB}


def test_mask_on_the_host():
    select, prune = gathered(bench_mask.network(Host(), "tiny", 2)).comparisons[:2]
    assert list(select.ms) == ["impcore", "floor", "read, prefetching"]
    assert {*opponents.FUNCTIONS, "torch.nn.utils.prune"} < set(prune.ms)


def test_adversarial_inputs_and_a_sweep(fake_gpu, monkeypatch):
    monkeypatch.setattr(bench_mask, "LAYOUTS", {"few": 2, "many": 20})
    found = gathered(bench_mask.adversarial(fake_gpu, "tiny", 1)).comparisons
    assert {c.op.split()[1] for c in found} == set(bench_mask.inputs.ADVERSARIAL)
    assert {c.dtype for c in found} == {"float32", "bfloat16"}
    few, _, many, _ = gathered(bench_mask.sweep(Host(), 5000)).comparisons
    assert (few.op, few.n, many.op, many.n) == (
        "sweep-select few", 5000, "sweep-select many", 5000
    )  # fmt: skip


@pytest.mark.parametrize("kind", bench_optim.KINDS, ids=lambda kind: kind.ours.__name__)
def test_steps(kind, fake_gpu, monkeypatch):
    monkeypatch.setattr(bench_optim, "KINDS", (kind,))
    monkeypatch.setattr(bench_optim, "check", lambda *_: None)
    found = gathered(bench_optim.network(fake_gpu, "tiny", 1)).comparisons
    assert [c.density for c in found] == pytest.approx(bench_optim.DENSITIES, abs=2e-4)
    assert {"torch fused, dense, graph", "torch fused, then bool masks, graph"} < set(found[0].ms)
    # Without a GPU PyTorch's AdamW cannot be capturable, unless it is fused.
    assert set(found[0].left_out) <= {f"torch foreach, dense, {m}" for m in ("graph", "eager")}
    monkeypatch.setattr(bench_optim, "FLOATS_UP_TO", 0)
    found = gathered(bench_optim.network(Host(), "tiny", 1)).comparisons
    assert {"impcore", "floor", "torch fused, dense"} < set(found[0].ms)
    assert len(found[0].left_out) == 6


def test_steps_are_checked():
    bench_optim.check(Host(), bench_optim.KINDS[0], "impcore")
    wrong = {**bench_optim.KINDS[0].options, "lr": 2e-4}

    def ours(*args, **options):
        return impcore.MaskedSGD(*args, **{**options, **wrong})

    kind = bench_optim.Kind(ours, torch.optim.SGD, {**wrong, "lr": 1e-4}, ("momentum_buffer",))
    ours.__name__ = "MaskedSGD"
    with pytest.raises(WrongError, match=r"not torch\.optim's"):
        bench_optim.check(Host(), kind, "impcore")


def test_contenders_share_the_states():
    kind = bench_optim.KINDS[1]
    weights = shapes.weights("tiny")
    states = bench_optim.States.of(kind, weights)
    parameters = bench_optim.twins([torch.nn.Parameter(w) for w in weights])
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW(parameters, fused=True)
    states.give(optimizer)
    optimizer.step()
    for i, parameter in enumerate(parameters):
        assert optimizer.state[parameter]["exp_avg"] is states.tensors[0][i]
        assert optimizer.state[parameter]["step"] == 2


def test_block_sums(fake_gpu):
    found = gathered(bench_block_l1.network(fake_gpu, "tiny", 2)).comparisons
    assert [c.op for c in found] == ["inside-prune tiny", *["block_l1 tiny"] * 4]
    assert {"cuda, flow=, eager", "cuda, eager"} < set(found[0].ms)
    assert found[1].floor == "read rate"
    found = gathered(bench_block_l1.network(Host(), "tiny", 2)).comparisons
    assert {"impcore, flow=", "impcore"} < set(found[0].ms)


@pytest.mark.parametrize("up_to", [10**8, 0])
def test_a_wrong_mask_stops_the_benchmark(up_to, monkeypatch, fake_gpu):
    prune = impcore.prune_global

    def wrong(model, rate):
        triton = os.environ.get("IMPCORE_BACKEND") == fake_gpu.backends["triton"]
        return prune(model, rate + 0.01 if triton or not spare else rate)

    monkeypatch.setattr(checks, "SORTED_UP_TO", up_to)
    monkeypatch.setattr(checks.impcore, "prune_global", wrong)
    dense = shapes.weights("tiny")
    weights = [w.clone() for w in dense]
    spare = False
    subject = subjects.Subject(Host(), "impcore", weights)
    with pytest.raises(WrongError, match="impcore: prune_global is wrong"):
        checks.right_ones(Host(), [subject], dense, 0.2)
    # On a GPU the other backend is timed all the same.
    spare = True
    both = [subjects.Subject(fake_gpu, label, weights) for label in fake_gpu.backends]
    assert checks.right_ones(fake_gpu, both, dense, 0.2) == both[:1]
    assert all(map(torch.equal, weights, dense))
    found = fake_gpu.compare("x", 1, 1.0, [], Floor(1.0, "copy", lambda: lambda: None), 1)
    assert found.left_out == {"triton, graph": "WrongError: triton: prune_global is wrong"}
    assert len(harness.failures(Report([found]), fake_gpu)) == 1
    spare = False
    with pytest.raises(WrongError, match="no backend is right"):
        checks.right_ones(fake_gpu, both, dense, 0.2)


def test_a_subject_comes_back():
    weights = shapes.weights("tiny")
    subject = subjects.Subject(Host(), "impcore", weights)
    subject.prune_to(0.5)
    kept = [w.clone() for w in weights]
    subject.remember(kept)
    before = subject.masks.remaining, subject.masks.hash
    impcore.prune_global(subject.model, 0.2)
    subject.select_and_commit(10)
    subject.reset()
    assert (subject.masks.remaining, subject.masks.hash) == before
    assert all(map(torch.equal, weights, kept))


def job(title, *reports, error=None):
    def run():
        yield from reports
        if error:
            raise error

    return harness.Job(title, run)


def one(op):
    return Report([Comparison(op, "float32", 1, 1.0, 1.0, "floor", {"ours": 1.0, "floor": 1.0})])


def test_a_failing_job_leaves_the_others_and_what_was_saved():
    saved = []
    jobs = [job("a", one("a"), error=RuntimeError("gone")), job("b", one("b"))]
    whole = harness.collect(jobs, 100, lambda r: saved.append(len(r.comparisons)), lambda: None)
    assert [c.op for c in whole.comparisons] == ["a", "b"]
    assert whole.left_out == {"a": "RuntimeError: gone"}
    assert saved == [1, 2]
    with pytest.raises(RuntimeError):
        harness.collect(jobs, 100, None, lambda: None)


def test_the_limit_lists_what_was_left():
    jobs = [job("a", one("a"), one("again")), job("b", one("b"))]
    whole = harness.collect(jobs, -1, None, lambda: None)
    assert list(whole.left_out) == ["a", "b"]
    whole = harness.collect(jobs, 1e-9, None, lambda: None)
    assert "cut short" in whole.left_out["a"] or "reached" in whole.left_out["a"]


@pytest.mark.parametrize("suite", [bench_mask.SUITE, bench_optim.SUITE, bench_block_l1.SUITE])
def test_without_a_gpu_the_command_line_says_so(suite, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SystemExit) as stopped:
        harness.main(suite, ["--device", "cuda"])
    assert stopped.value.code == 2
    assert "sees no CUDA device" in capsys.readouterr().err


def test_a_build_without_a_gpu_backend_is_refused(monkeypatch):
    import cuda_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda_device.ops, "backends", lambda: ["cpu", "reference"])
    with pytest.raises(BackendError, match="install Triton"):
        cuda_device.place()


def test_a_whole_command_on_a_gpu_fills_one_file(fake_gpu, monkeypatch, tmp_path, capsys):
    about = {"gpu": "NVIDIA H200", "commit": "abc", "date": "2026-01-01", "command": "x"}
    monkeypatch.setattr(harness, "_place", lambda device: (fake_gpu, about))
    out = tmp_path / "nvidia-h200.json"
    arguments = ["--device", "cuda", "--out", str(out), "--plot", str(tmp_path / "x.png")]
    for name, network in (("mask", bench_mask.network), ("block_l1", bench_block_l1.network)):
        run = partial(network, fake_gpu, "tiny", 1)
        suite = harness.Suite(name, "", lambda place, given, run=run: [harness.Job("tiny", run)])
        assert harness.main(suite, arguments) == 0
    whole = json.loads(out.read_text())
    assert whole["device"] == "NVIDIA H200"
    assert [row["op"] for row in whole["mask"]["rows"]][:2] == ["select tiny", "prune tiny"]
    assert len(whole["block_l1"]["rows"]) == 5
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert "CUB DeviceTopK" in capsys.readouterr().out
    about["gpu"] = "Another"
    with pytest.raises(SystemExit):
        harness.main(suite, arguments)
    assert "holds results of NVIDIA H200" in capsys.readouterr().err


def test_one_of_ours_that_fails_is_a_failure(fake_gpu):
    found = one("select x").comparisons[0]
    found.left_out = {"triton, graph": "CompilationError: x", "torch.topk": "RuntimeError: y"}
    assert harness.failures(Report([found]), fake_gpu) == [
        "select x: triton, graph: CompilationError: x"
    ]


def test_sizes(capsys):
    parser = argparse.ArgumentParser()
    bench_mask.add_arguments(parser)
    assert parser.parse_args(["--sizes", "1e5", "2e6"]).sizes == [100_000, 2_000_000]
    assert parser.parse_args(["--sweep"]).sizes == bench_mask.SIZES
    for wrong in (["--sizes", "5"], ["--sizes", "x"], ["--sizes", "nan"], ["--sizes"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)


def test_a_figure_has_a_panel_wherever_something_varies():
    def found(op, n, density=1.0):
        return Comparison(op, "float32", n, density, 1.0, "floor", {"ours": 1.0})

    rows = [found("select a", 10), found("select b", 20), found("select b", 20, 0.5)]
    rows += [found("prune a", 10), found("prune a", 10, 0.5)]
    panels = [(title, over, len(group)) for title, over, group in panels_of(rows)]
    assert panels == [("select", "n", 2), ("select b", "density", 2), ("prune a", "density", 2)]
    assert panels_of([found("round, x", 10)]) == []
