"""What the optimisers' ops refuse, and what PyTorch knows of them."""

import pytest
import torch

from impcore import ops
from impcore.errors import BackendError, LayoutError

from . import step_cases as cases
from .step_cases import every_op

NAMES = {
    "sgd": ("params", "grads", "momenta"),
    "adamw": ("params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "steps"),
}


def small(name, **changes):
    """Arguments over two tensors of 4 and 40 elements, the second one masked."""
    lists = {
        key: [torch.ones(()), torch.ones(())] if key == "steps" else two(torch.ones(5, 8))
        for key in NAMES[name]
    }
    return {
        **lists,
        "mask": torch.tensor([-1, 255], dtype=torch.int32),
        "words": [-1, 0],
        **cases.MAKERS[name](torch.float32).options,
        **changes,
    }


def two(tensor):
    return [torch.ones(4), tensor]


def op_of(name):
    return getattr(ops, f"masked_{name}")


COMMON = {
    "one grad": ({"grads": [torch.ones(4)]}, ValueError, "2 params need as many grads, not 1"),
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
    "words": ({"words": [-1]}, ValueError, "words has 1 entries for 2 params"),
    "word -2": ({"words": [-2, 0]}, ValueError, r"words\[0\] is -2"),
    "beyond the arena": ({"words": [-1, 1]}, ValueError, r"words\[1\] is 1, but .* 2 of the"),
    "no arena": ({"mask": None}, ValueError, r"words\[1\] is 0, but .* mask's 0 words"),
    "arena dtype": ({"mask": torch.ones(2)}, ValueError, "mask must be a contiguous int32"),
    "lr shape": ({"lr": torch.ones(2)}, ValueError, r"lr must be one element .*\(2,\)"),
    "lr dtype": ({"lr": torch.tensor(1)}, ValueError, "lr must be one element .*int64"),
    "decay": ({"weight_decay": torch.ones(1).half()}, ValueError, "weight_decay must be"),
    "scale": ({"grad_scale": torch.ones(1).double()}, ValueError, "grad_scale must be one"),
    "found_inf": ({"found_inf": torch.ones(2)}, ValueError, "found_inf must be one element"),
}
OWN = {
    "sgd": {
        "no momenta": ({"momenta": []}, ValueError, "2 params need as many momenta, not 0"),
        "no momentum": ({"momentum": 0.0}, ValueError, "there must be no momenta, not 2"),
        "momentum dtype": ({"momenta": two(torch.ones(5, 8).half())}, TypeError, r"momenta\[1\]"),
        "momentum shape": ({"momenta": two(torch.ones(5, 9))}, ValueError, r"momenta\[1\] has"),
        "first": ({"first": torch.ones(1)}, ValueError, "first must be one element of torch.bool"),
    },
    "adamw": {
        "no averages": ({"exp_avgs": []}, ValueError, "as many exp_avgs, not 0"),
        "squares": ({"exp_avg_sqs": two(torch.ones(5, 9))}, ValueError, r"exp_avg_sqs\[1\] has"),
        "largest": ({"max_exp_avg_sqs": [torch.ones(4)]}, ValueError, "as many max_exp_avg_sqs"),
        "one step": ({"steps": [torch.ones(())]}, ValueError, "need as many steps, not 1"),
        "step dtype": ({"steps": [torch.tensor(1)] * 2}, ValueError, r"steps\[0\] must be one"),
        "one step for both": (
            {"steps": [torch.ones(())] * 2},
            ValueError,
            r"steps\[1\] is the same tensor as steps\[0\]",
        ),
        "beta1": ({"beta1": torch.ones(2)}, ValueError, "beta1 must be one element"),
        "beta2": ({"beta2": torch.ones(1).half()}, ValueError, "beta2 must be one element"),
    },
}
REJECTED = [(name, what) for name, own in OWN.items() for what in {**COMMON, **own}]


@pytest.mark.parametrize(("name", "what"), REJECTED)
def test_wrong_arguments_are_refused_before_anything_is_written(name, what):
    changes, error, message = {**COMMON, **OWN[name]}[what]
    arguments = small(name, **changes)
    written = [t for key in NAMES[name] for t in arguments[key]]
    with pytest.raises(error, match=message):
        op_of(name)(**arguments)
    assert all((t.to_dense() == 1).all() for t in written if not t.is_meta)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_without_memory_is_refused(name):
    arguments = small(name, grads=two(torch._efficientzerotensor(5, 8)))
    with pytest.raises(NotImplementedError, match=r"grads\[1\] is zeros without memory"):
        op_of(name)(**arguments)
    assert all((t == 1).all() for t in arguments["params"])


@pytest.mark.parametrize("name", NAMES)
def test_float64_takes_no_mask(name):
    arguments = small(name, words=[0])
    for key in NAMES[name]:
        arguments[key] = [torch.ones(())] if key == "steps" else [torch.ones(4).double()]
    with pytest.raises(TypeError, match=r"params\[0\] is torch.float64 and has a mask"):
        op_of(name)(**arguments)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_step_is_nothing_to_do(name):
    op_of(name)(**small(name, words=[], **{key: [] for key in NAMES[name]}))


@pytest.mark.parametrize("name", NAMES)
def test_other_devices_need_a_backend(name):
    def moved(value):
        if isinstance(value, list):
            return [moved(v) for v in value]
        return value.to("meta") if isinstance(value, torch.Tensor) else value

    with pytest.raises(BackendError, match="serves meta tensors"):
        op_of(name)(**{key: moved(value) for key, value in small(name).items()})


# PyTorch


def positional(name, **changes):
    """The arguments of the registered op."""
    arguments = small(name, **changes)
    scaler = [arguments.pop(key, None) for key in ("grad_scale", "found_inf")]
    return (*arguments.values(), *scaler)


SAMPLES = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.0, "momenta": []}),
    ("sgd", {"first": torch.tensor(True), "dampening": 0.1}),
    ("adamw", {}),
    ("adamw", {"max_exp_avg_sqs": []}),
    *((name, {"mask": None, "words": [-1, -1]}) for name in NAMES),
    *((name, {"grad_scale": torch.ones(1), "found_inf": torch.zeros(1)}) for name in NAMES),
    *((name, {"words": [], **{key: [] for key in keys}}) for name, keys in NAMES.items()),
]


@pytest.mark.parametrize(
    ("name", "changes"), SAMPLES, ids=lambda v: "+".join(v) if isinstance(v, dict) else v
)
def test_opcheck(name, changes):
    op = getattr(torch.ops.impcore, f"masked_{name}").default
    torch.library.opcheck(op, positional(name, **changes))


@pytest.mark.parametrize(
    ("name", "changes", "written"),
    [
        ("sgd", {"first": torch.tensor(True)}, {0, 2, 11}),  # params, momenta, first
        ("adamw", {}, {0, 2, 3, 4, 5}),  # all but the gradients
    ],
)
def test_versions_rise_where_the_op_writes_and_nowhere_else(name, changes, written, backend):
    arguments = positional(name, grad_scale=torch.ones(1), **changes)
    lists = [a if isinstance(a, list) else [a] for a in arguments]
    flat = [(i, t) for i, row in enumerate(lists) for t in row if isinstance(t, torch.Tensor)]
    before = [t._version for _, t in flat]
    getattr(torch.ops.impcore, f"masked_{name}").default(*arguments)
    rose = {i for (i, t), v in zip(flat, before, strict=True) if t._version > v}
    stayed = {i for (i, t), v in zip(flat, before, strict=True) if t._version == v}
    assert rose == written
    assert not rose & stayed


@pytest.mark.parametrize("name", NAMES)
def test_a_backward_through_a_weight_that_was_stepped_raises(name, backend):
    """Without the version counter this gave a silently wrong gradient."""
    theta, x = torch.nn.Parameter(torch.ones(4)), torch.ones(4, requires_grad=True)
    loss = (theta * x).sum()  # backward needs theta as it was
    arguments = small(name, words=[0])
    for key in NAMES[name]:
        arguments[key] = arguments[key][:1]
    arguments["params"] = [theta]
    op_of(name)(**arguments)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_op
def test_compile_takes_a_step_whole(make):
    case = make(torch.float32, shapes=[(40,), (5, 8)])
    want, got = case.run(), case.copy()
    arena, words = case.arena(), case.words()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(params, grads, states):
        doubled = [g * 2 for g in grads]
        got.op(params, [g / 2 for g in doubled], *states, arena, words, **got.options)
        return [p.sum() for p in params]

    torch.compiler.reset()
    sums = step(got.params, got.grads, got.states)
    assert got.bits() == want.bits()
    assert [s.item() for s in sums] == [p.sum().item() for p in want.params]
