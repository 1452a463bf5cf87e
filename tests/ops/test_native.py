"""What every call into the native module needs."""

import itertools

import pytest
import torch
from torch import nn

from impcore.ops import native

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def test_addresses_are_those_of_the_first_elements():
    whole = torch.arange(10.0)
    assert native.addresses([whole, whole[3:]]) == [whole.data_ptr(), whole.data_ptr() + 12]


def test_a_number_is_where_it_lies_and_whether_it_is_a_double():
    one, two = torch.tensor(1.0), torch.tensor(2.0, dtype=torch.float64)
    assert native.number(one) == (one.data_ptr(), False)
    assert native.number(two) == (two.data_ptr(), True)


def group(shapes=((3, 4), (), (0, 2), (2, 3, 1, 5)), dtype=torch.float32):
    """Parameters with gradients, and their states: two averages and a count."""
    params = [nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]
    for p in params:
        p.grad = torch.ones_like(p)
    state = {
        p: {"a": torch.zeros_like(p), "b": torch.zeros_like(p), "n": torch.zeros(())}
        for p in params
    }
    return params, state


def same(found, wanted):
    if found is None or [len(part) for part in found] != [len(part) for part in wanted]:
        return False
    return all(
        a is b for a, b in zip(itertools.chain(*found), itertools.chain(*wanted), strict=True)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_gathering_gives_the_very_tensors(dtype):
    params, state = group(dtype=dtype)
    wanted = [params, [p.grad for p in params]]
    assert same(native.gather(params, state, [], None), wanted)
    averages = [[state[p][key] for p in params] for key in "ba"]
    assert same(native.gather(params, state, ["b", "a"], None), [*wanted, *averages])
    counts = [state[p]["n"] for p in params]
    found = native.gather(params, state, ["b", "a"], "n")
    assert same(found, [*wanted, *averages, counts])


def test_gathering_leaves_out_what_has_no_gradient():
    params, state = group()
    params[1].grad = None
    alive = [params[0], *params[2:]]
    found = native.gather(params, state, ["a"], None)
    assert same(found, [alive, [p.grad for p in alive], [state[p]["a"] for p in alive]])
    found = native.gather(params[2:], state, ["a"], None)  # as the second of two groups
    assert same(found, [alive[1:], [p.grad for p in alive[1:]], [state[p]["a"] for p in alive[1:]]])


def replace_state(key, value):
    return lambda params, state: state[params[0]].__setitem__(key, value)


UNUSUAL = {
    "no state": lambda params, state: state.pop(params[2]),
    "no average": lambda params, state: state[params[2]].pop("a"),
    "another order": lambda params, state: state.update({params[0]: state.pop(params[0])}),
    "an average's order": replace_state("a", torch.zeros(4, 3).t()),
    "an average's shape": replace_state("a", torch.zeros(12)),
    "an average's dtype": replace_state("a", torch.zeros(3, 4).double()),
    "no tensor": replace_state("a", 1.0),
    "a subclass": replace_state("a", torch.zeros(3, 4).as_subclass(type("T", (torch.Tensor,), {}))),
    "on no device": replace_state("a", torch.zeros(3, 4, device="meta")),
    "a count's dtype": replace_state("n", torch.zeros((), dtype=torch.float64)),
    "a count for each": replace_state("n", torch.zeros(2)),
    "no count": lambda params, state: state[params[3]].pop("n"),
    "a sparse gradient": lambda params, state: setattr(
        params[0], "grad", torch.ones(3, 4).to_sparse()
    ),
    "a gradient's order": lambda params, state: setattr(params[0], "grad", torch.ones(4, 3).t()),
    "gaps": lambda params, state: [
        setattr(params[0], "data", torch.ones(3, 8)[:, ::2]),
        setattr(params[0], "grad", torch.ones(3, 8)[:, ::2]),
        replace_state("a", torch.ones(3, 8)[:, ::2])(params, state),
    ],
    "an overlap": lambda params, state: [
        setattr(params[0], "data", torch.ones(3, 1).expand(3, 4)),
        setattr(params[0], "grad", torch.ones(3, 1).expand(3, 4)),
        replace_state("a", torch.ones(3, 1).expand(3, 4))(params, state),
    ],
    "two dtypes": lambda params, state: [
        setattr(params[0], "data", torch.ones(3, 4).half()),
        setattr(params[0], "grad", torch.ones(3, 4).half()),
        replace_state("a", torch.ones(3, 4).half())(params, state),
    ],
}


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_gathering_does_not_take_what_is_unusual(change):
    params, state = group()
    params[0].grad = None  # so that a dtype of its own can be given
    assert native.gather(params, state, ["a"], "n") is not None
    change(params, state)
    if params[0].grad is None:
        params[0].grad = torch.ones_like(params[0])
    assert native.gather(params, state, ["a"], "n") is None


def test_gathering_takes_any_dense_order():
    params = [
        nn.Parameter(torch.randn(4, 3).t()),
        nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)),
        nn.Parameter(torch.randn(2, 3, 4, 5, 2).permute(3, 1, 4, 0, 2)),
        nn.Parameter(torch.randn(6, 1, 2).as_strided((6, 1, 2), (2, 99, 1))),
    ]
    for p in params:
        p.grad = torch.zeros_like(p) if p.dim() != 3 else torch.zeros(12).as_strided(*shape(p))
    assert same(native.gather(params, {}, [], None), [params, [p.grad for p in params]])


def shape(p):
    return p.shape, p.stride()


def test_a_layout_is_known_by_strides_and_device():
    tensors = [
        torch.ones(4, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.ones(5, 1, 1).transpose(0, 2),
        torch.ones(()),
        nn.Parameter(torch.ones(0, 3)),
    ]
    strides = [t.stride() for t in tensors]
    assert native.are_laid_out(tensors, strides, torch.zeros(1))
    assert not native.are_laid_out(tensors[:-1], strides, torch.zeros(1))
    for i in (0, 1):
        moved = [*tensors[:i], tensors[i].contiguous(), *tensors[i + 1 :]]
        assert native.are_laid_out(moved, strides, torch.zeros(1)) == (i == 1)  # sizes of 1
        wider = [*strides[:i], (*strides[i], 1), *strides[i + 1 :]]
        assert not native.are_laid_out(tensors, wider, torch.zeros(1))
    assert not native.are_laid_out([*tensors, torch.ones(2, device="meta")], [*strides, (1,)],
                                   torch.zeros(1))  # fmt: skip
