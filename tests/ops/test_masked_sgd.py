"""One step of SGD under masks: the arithmetic, the invariants, and what PyTorch knows of the op."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore import ops
from impcore.errors import BackendError, LayoutError

from . import sgd_cases as cases
from . import tensors

DTYPES = [*tensors.DTYPES, torch.float64]


def bits(case):
    """Everything a call might write, as bytes in storage order."""
    lists = (case.params, case.grads, case.momenta)
    flat = [t.detach().as_strided((t.numel(),), (1,)) for row in lists for t in row]
    return [t.view(torch.uint8).numpy().tobytes() for t in flat]


@st.composite
def random_cases(draw):
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9]))
    nesterov = momentum > 0 and draw(st.booleans())
    first = draw(st.sampled_from([None, False, True]))
    scale = draw(st.sampled_from([None, 1.0, 3.0, 65536.0]))
    return cases.make(
        draw(st.sampled_from(DTYPES)),
        seed=draw(st.integers(0, 2**32)),
        shapes=draw(st.lists(st.sampled_from(cases.SIZES), max_size=4)),
        density=draw(st.sampled_from([0.0, 0.3, 1.0])),
        lr=cases.scalar(draw(st.sampled_from([0.0, 0.1, 2.0]))),
        weight_decay=cases.scalar(draw(st.sampled_from([0.0, 0.01])), torch.float32),
        momentum=momentum,
        dampening=0.0 if nesterov else draw(st.sampled_from([0.0, 0.1])),
        nesterov=nesterov,
        maximize=draw(st.booleans()),
        first=None if first is None else torch.tensor(first),
        grad_scale=None if scale is None else cases.scalar(scale, torch.float32),
        found_inf=draw(st.sampled_from([None, torch.zeros(1)])),
    )


@given(random_cases())
def test_a_step_rounds_the_float64_step_once(case):
    before = bits(case)
    cases.check_against_float64(case, case.run())
    assert bits(case) == before  # `run` worked on copies


@given(random_cases())
def test_the_reference_is_the_float64_step(case):
    """Nearer than the kernel needs to be: only the rounding to the storage dtype."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "reference")
        after = case.run()
    for i, (theta, v, _) in enumerate(cases.float64(case)):
        dtype = case.params[i].dtype
        want = torch.from_numpy(theta).to(dtype).double().numpy()
        np.testing.assert_allclose(cases.flat(after.params[i]), want, rtol=1e-9, atol=1e-12)
        if case.options["momentum"]:
            want = torch.from_numpy(v).to(dtype).double().numpy()
            np.testing.assert_allclose(cases.flat(after.momenta[i]), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", tensors.DTYPES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_a_dead_weight_holds_does_not_matter(dtype, momentum, backend):
    """A selection, never a multiplication: NaN and infinity become +0, and so does -0."""
    clean = cases.make(dtype, momentum=momentum, density=0.4)
    dirty = clean.copy()
    for i, values in enumerate((float("nan"), float("inf"), float("-inf"), -0.0)):
        for row in (dirty.params, dirty.grads, dirty.momenta):
            for tensor, mask in zip(row, dirty.masks, strict=True):
                if mask is not None:
                    dead = torch.from_numpy(~mask & (np.arange(mask.size) % 4 == i))
                    tensor.as_strided((tensor.numel(),), (1,))[dead] = values
    after, want = dirty.run(), clean.run()
    assert torch.tensor([t.isnan().any() for t in dirty.grads]).any()
    wrote = range(len(after.params))
    rows = [(after.params, want.params)]
    if momentum:
        rows.append((after.momenta, want.momenta))
    for got, wanted in rows:
        for i in wrote:
            assert np.array_equal(tensors.storage(got[i]), tensors.storage(wanted[i]))
            if after.masks[i] is not None:
                assert not tensors.storage(got[i])[~after.masks[i]].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("found", [1.0, 2.0, float("inf"), float("nan")])
def test_a_skipped_step_touches_nothing(dtype, found, backend):
    first = torch.tensor(True)
    case = cases.make(dtype, dampening=0.1, first=first, found_inf=torch.tensor([found]))
    after = case.run()
    assert bits(after) == bits(case)
    assert after.options["first"].item() is True


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8])
def test_the_first_step_clears_its_flag(kind, backend):
    case = cases.make(torch.float32, dampening=0.1, first=torch.ones(1, dtype=kind))
    after = case.run()
    assert after.options["first"].item() == 0
    cases.check_against_float64(case, after)
    later = after.run()
    cases.check_against_float64(after, later)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_show(dtype):
    case = cases.make(dtype, shapes=[(70_000,), (3,), (200_001,), (0,)], dampening=0.1)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(bits(case.run()))
    torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]
    assert results[0] != bits(case)


ISA_SCRIPT = """
import hashlib, torch
from impcore import _C, ops
gen = torch.Generator().manual_seed(0)
digest = hashlib.sha256()
for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
    for scale in (1.0, 1e-40, 1e-6, 6e4, 1e38):
        for momentum, nesterov, maximize in ((0.0, False, True), (0.9, True, False)):
            rows = [[torch.randn(n, generator=gen, dtype=torch.float64).mul(scale).to(dtype)
                     for n in (1, 33, 1000)] for _ in range(3)]
            for row in rows:
                row[1][::7] = float("inf")
                row[2][::9] = 0.0
            rows[1][2][::5] = float("nan")
            words = [-1, -1, -1] if dtype == torch.float64 else [0, -1, 1]
            mask = torch.randint(-2**31, 2**31, (33,), generator=gen, dtype=torch.int32)
            ops.masked_sgd(rows[0], rows[1], rows[2] if momentum else [], mask, words,
                           lr=torch.tensor(0.1), momentum=momentum, dampening=0.0,
                           weight_decay=torch.tensor(1e-3), nesterov=nesterov, maximize=maximize,
                           first=None, grad_scale=torch.tensor(3.0))
            for row in rows:
                for t in row:
                    # Which of two NaNs survives an addition is the compiler's choice.
                    t[t.isnan()] = float("nan")
                    digest.update(t.view(torch.uint8).numpy().tobytes())
print(_C.isa(), digest.hexdigest())
"""


def test_instruction_sets_do_not_show():
    found = {}
    for isa in ("portable", "avx2", "avx512"):
        run = subprocess.run(
            [sys.executable, "-c", ISA_SCRIPT],
            env={**os.environ, "IMPCORE_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        if "is not supported by this CPU" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        name, digest = run.stdout.split()
        assert name == isa
        found[isa] = digest
    assert "portable" in found
    assert len(set(found.values())) == 1, found


def test_neighbours_in_memory_stay(backend):
    buffers = [torch.full((70_000,), 3.0) for _ in range(3)]
    views = [b[5:69_990] for b in buffers]
    ops.masked_sgd(
        views[:1],
        views[1:2],
        views[2:],
        torch.zeros(2188, dtype=torch.int32),
        [0],
        **cases.make(torch.float32).options,
    )
    assert not views[0].any()
    assert not views[2].any()
    assert (views[1] == 3).all()
    for buffer in buffers:
        assert (buffer[:5] == 3).all()
        assert (buffer[69_990:] == 3).all()


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (7, 5)])
def test_layouts(shape, backend):
    """The mask follows the storage order, so strides do not matter to the arithmetic."""

    def permuted(t):
        return t.to(memory_format=torch.channels_last) if len(shape) == 4 else t.t()

    case = cases.make(torch.float32, shapes=[shape])
    moved = case.copy()
    for name in ("params", "grads", "momenta"):
        setattr(moved, name, [permuted(t) for t in getattr(case, name)])
    assert moved.params[0].is_contiguous() is False
    if len(shape) == 2:
        moved.masks[0] = case.masks[0]
        assert bits(moved.run()) == bits(case.run())
    cases.check_against_float64(moved, moved.run())


def small(**options):
    """Arguments over two tensors of 4 and 40 elements, the second one masked."""
    return {
        "params": [torch.ones(4), torch.ones(5, 8)],
        "grads": [torch.ones(4), torch.ones(5, 8)],
        "momenta": [torch.ones(4), torch.ones(5, 8)],
        "mask": torch.tensor([-1, 255], dtype=torch.int32),
        "words": [-1, 0],
        **cases.make(torch.float32).options,
        **options,
    }


def two(tensor):
    return [torch.ones(4), tensor]


REJECTED = {
    "one grad": ({"grads": [torch.ones(4)]}, ValueError, "2 params .* not 1 and 2"),
    "no momenta": ({"momenta": []}, ValueError, "2 params with momentum 0.9 .* not 2 and 0"),
    "momenta without momentum": ({"momentum": 0.0}, ValueError, "0 momenta, not 2 and 2"),
    "complex": ({"params": two(torch.ones(40).cfloat())}, TypeError, r"params\[1\] .*complex64"),
    "integers": ({"params": two(torch.ones(40).int())}, TypeError, r"params\[1\] .*int32"),
    "mixed": ({"params": two(torch.ones(5, 8).half())}, TypeError, r"params\[1\] is .*float16"),
    "gaps": ({"params": two(torch.ones(5, 16)[:, ::2])}, LayoutError, r"params\[1\] has strides"),
    "overlaps": ({"params": two(torch.ones(8).expand(5, 8))}, LayoutError, r"params\[1\]"),
    "sparse": ({"params": two(torch.ones(5, 8).to_sparse())}, NotImplementedError, "sparse"),
    "grad dtype": ({"grads": two(torch.ones(5, 8).double())}, TypeError, r"grads\[1\] .*float64"),
    "grad shape": ({"grads": two(torch.ones(8, 5))}, ValueError, r"grads\[1\] has shape \(8, 5\)"),
    "grad strides": ({"grads": two(torch.ones(8, 5).t())}, ValueError, r"grads\[1\].*\(1, 5\)"),
    "sparse grad": ({"grads": two(torch.ones(5, 8).to_sparse())}, NotImplementedError, "grads"),
    "grad device": ({"grads": two(torch.ones(5, 8, device="meta"))}, ValueError, "on meta"),
    "momentum dtype": ({"momenta": two(torch.ones(5, 8).half())}, TypeError, r"momenta\[1\]"),
    "momentum shape": ({"momenta": two(torch.ones(5, 9))}, ValueError, r"momenta\[1\] has shape"),
    "words": ({"words": [-1]}, ValueError, "words has 1 entries for 2 params"),
    "word -2": ({"words": [-2, 0]}, ValueError, r"words\[0\] is -2"),
    "beyond the arena": ({"words": [-1, 1]}, ValueError, r"words\[1\] is 1, but .* 2 of the"),
    "no arena": ({"mask": None}, ValueError, r"words\[1\] is 0, but .* mask's 0 words"),
    "arena dtype": ({"mask": torch.ones(2)}, ValueError, "mask must be a contiguous int32"),
    "lr shape": ({"lr": torch.ones(2)}, ValueError, r"lr must be one element .*\(2,\)"),
    "lr dtype": ({"lr": torch.tensor(1)}, ValueError, "lr must be one element .*int64"),
    "decay": ({"weight_decay": torch.ones(1).half()}, ValueError, "weight_decay must be"),
    "first": ({"first": torch.ones(1)}, ValueError, "first must be one element of torch.bool"),
    "scale": ({"grad_scale": torch.ones(1).double()}, ValueError, "grad_scale must be one"),
    "found_inf": ({"found_inf": torch.ones(2)}, ValueError, "found_inf must be one element"),
}


@pytest.mark.parametrize("what", REJECTED)
def test_wrong_arguments_are_refused_before_anything_is_written(what):
    changes, error, message = REJECTED[what]
    arguments = small(**changes)
    written = [*arguments["params"], *arguments["momenta"]]
    with pytest.raises(error, match=message):
        ops.masked_sgd(**arguments)
    assert all((t.to_dense() == 1).all() for t in written)


def test_float64_takes_no_mask():
    arguments = small(**{n: [torch.ones(4).double()] for n in ("params", "grads", "momenta")})
    arguments["words"] = [0]
    with pytest.raises(TypeError, match=r"params\[0\] is torch.float64 and has a mask"):
        ops.masked_sgd(**arguments)


def test_nothing_to_step_is_nothing_to_do():
    arguments = small(params=[], grads=[], momenta=[], words=[])
    ops.masked_sgd(**arguments)


def test_other_devices_need_a_backend():
    arguments = small()
    for name in ("params", "grads", "momenta"):
        arguments[name] = [t.to("meta") for t in arguments[name]]
    for name in ("mask", "lr", "weight_decay"):
        arguments[name] = arguments[name].to("meta")
    with pytest.raises(BackendError, match="serves meta tensors"):
        ops.masked_sgd(**arguments)


def positional(**options):
    """The arguments of the registered op."""
    arguments = small(**options)
    scaler = [arguments.pop(name, None) for name in ("grad_scale", "found_inf")]
    return (*arguments.values(), *scaler)


SAMPLES = {
    "plain": {},
    "no momentum": {"momentum": 0.0, "momenta": []},
    "no mask": {"mask": None, "words": [-1, -1]},
    "first": {"first": torch.tensor(True), "dampening": 0.1},
    "scaled": {"grad_scale": torch.full((1,), 2.0), "found_inf": torch.zeros(1)},
    "nothing": {"params": [], "grads": [], "momenta": [], "words": []},
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_opcheck(sample):
    torch.library.opcheck(torch.ops.impcore.masked_sgd.default, positional(**SAMPLES[sample]))


def test_versions_rise_where_the_op_writes_and_nowhere_else(backend):
    arguments = positional(first=torch.tensor(True), grad_scale=torch.ones(1))
    lists = [a if isinstance(a, list) else [a] for a in arguments]
    flat = [(i, t) for i, row in enumerate(lists) for t in row if isinstance(t, torch.Tensor)]
    before = [t._version for _, t in flat]
    torch.ops.impcore.masked_sgd.default(*arguments)
    rose = {i for (i, t), v in zip(flat, before, strict=True) if t._version > v}
    stayed = {i for (i, t), v in zip(flat, before, strict=True) if t._version == v}
    assert rose == {0, 2, 11}  # params, momenta, first
    assert not rose & stayed


def test_a_backward_through_a_weight_that_was_stepped_raises(backend):
    """Without the version counter this gave a silently wrong gradient."""
    theta, x = torch.nn.Parameter(torch.ones(4)), torch.ones(4, requires_grad=True)
    loss = (theta * x).sum()  # backward needs theta as it was
    arguments = small(params=[theta], grads=[torch.ones(4)], momenta=[torch.ones(4)], words=[0])
    ops.masked_sgd(**arguments)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_compile_takes_a_step_whole():
    case = cases.make(torch.float32, shapes=[(40,), (5, 8)], dampening=0.1)
    want, got = case.run(), case.copy()
    arena, words = case.arena(), case.words()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(params, grads, momenta):
        doubled = [g * 2 for g in grads]
        ops.masked_sgd(params, [g / 2 for g in doubled], momenta, arena, words, **got.options)
        return [p.sum() for p in params]

    torch.compiler.reset()
    sums = step(got.params, got.grads, got.momenta)
    assert bits(got) == bits(want)
    assert [s.item() for s in sums] == [p.sum().item() for p in want.params]
