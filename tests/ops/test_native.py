"""What every call into the native module needs."""

import itertools

import pytest
import torch
from torch import nn

from impcore import _C
from impcore.ops import native
from impcore.ops.step_tensors import StepTensors

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def test_addresses_are_those_of_the_first_elements():
    whole = torch.arange(10.0)
    assert native.addresses([whole, whole[3:]]) == [whole.data_ptr(), whole.data_ptr() + 12]


@pytest.mark.parametrize("kind", [torch.Tensor, nn.Parameter, type("T", (torch.Tensor,), {})])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ops_read_numbers_where_they_are(dtype, kind):
    numbers = torch.tensor([7.0, 0.5, 4.0], dtype=dtype).as_subclass(kind)
    param, grad = torch.ones(3), torch.full((3,), 2.0)
    args = native.step_args([param], [grad], [], [], None, [-1])
    options = 0.0, 0.0, numbers[0] * 0, False, False, False
    for scale, expected in ((None, 0.0), (torch.full((), 4.0).as_subclass(kind), 0.75)):
        param.fill_(1.0)
        _C.masked_sgd(args, numbers[1], *options, scale, 1)
        assert param.tolist() == [expected] * 3


@pytest.mark.parametrize("wrong", [None, 0.1])
def test_ops_refuse_numbers_that_are_in_no_tensor(wrong):
    param, zero = torch.ones(3), torch.zeros(())
    args = native.step_args([param], [param.clone()], [], [], None, [-1])
    with pytest.raises(TypeError):
        _C.masked_sgd(args, wrong, 0.0, 0.0, zero, False, False, False, None, 1)
    assert param.tolist() == [1.0] * 3


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


def gather(params, state, keys=(), counter=None, places=None):
    """What the walk finds."""
    found = native.gather(params, state, list(keys), counter, places)
    return None if found is None else StepTensors(*found)


def same(found, params, state, keys="", counter=None):
    """Whether these very tensors of the params were found, and nothing else."""
    wanted = [params, [p.grad for p in params], *([state[p][key] for p in params] for key in keys)]
    wanted.append([state[p][counter] for p in params] if counter else [])
    lists = [found.params, found.grads, *found.states, found.counts]
    return [len(part) for part in lists] == [len(part) for part in wanted] and all(
        a is b for a, b in zip(itertools.chain(*lists), itertools.chain(*wanted), strict=True)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_gathering_gives_the_very_tensors(dtype):
    params, state = group(dtype=dtype)
    assert same(gather(params, state), params, state)
    assert same(gather(params, state, "ba"), params, state, "ba")
    found = gather(params, state, "ba", "n")
    assert same(found, params, state, "ba", "n")
    assert (found.mask, found.words) == (None, [-1] * 4)


def test_gathering_leaves_out_what_has_no_gradient():
    params, state = group()
    params[1].grad = None
    alive = [params[0], *params[2:]]
    assert same(gather(params, state, "a"), alive, state, "a")
    assert same(gather(params[2:], state, "a"), params[2:], state, "a")  # as the second of two
    assert gather(params[1:2], state, "a") is None  # nothing to step


def test_gathering_finds_bits_where_they_lie_as_the_parameters_do():
    params, state = group()
    arena = torch.zeros(9, dtype=torch.int32)
    places = _C.Places([params[3], params[0]], [5, 2], arena)
    found = gather(params, state, "a", None, places)
    assert same(found, params, state, "a")
    assert found.mask is arena
    assert found.words == [2, -1, -1, 5]
    found = gather(params[1:3], state, "a", None, places)
    assert (found.mask, found.words) == (None, [-1, -1])
    params[3].data = params[3].data.transpose(0, 3).contiguous().transpose(0, 3)
    params[3].grad = torch.ones_like(params[3])
    state[params[3]]["a"] = torch.ones_like(params[3])
    assert gather(params, state, "a", None, places) is None
    assert gather(params, state, "a") is not None
    elsewhere = _C.Places([params[0]], [0], arena.to("meta"))
    assert gather(params, state, "a", None, elsewhere) is None


def test_gathering_leaves_masked_weights_of_another_dtype_to_python():
    params, state = group(dtype=torch.float64)
    places = _C.Places(params[:1], [0], torch.zeros(9, dtype=torch.int32))
    assert gather(params, state, "a", None, places) is None
    assert gather(params[1:], state, "a", None, places) is not None


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
    assert gather(params, state, "a", "n") is not None
    change(params, state)
    if params[0].grad is None:
        params[0].grad = torch.ones_like(params[0])
    assert gather(params, state, "a", "n") is None


def test_gathering_leaves_a_negated_gradient_to_python():
    param = nn.Parameter(torch.zeros(()))
    param.grad = torch.tensor(1 + 2j).conj().imag
    assert gather([param], {}) is None
    param.grad = param.grad.resolve_neg()
    assert gather([param], {}) is not None


def test_gathering_leaves_a_gradient_without_memory_to_python():
    params = [nn.Parameter(torch.ones(n)) for n in (0, 3)]
    for param in params:
        param.grad = torch.zeros_like(param)
    assert gather(params, {}) is not None
    params[1].grad = torch._efficientzerotensor(3)
    assert gather(params, {}) is None


def test_gathering_takes_any_dense_order():
    params = [
        nn.Parameter(torch.randn(4, 3).t()),
        nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)),
        nn.Parameter(torch.randn(2, 3, 4, 5, 2).permute(3, 1, 4, 0, 2)),
        nn.Parameter(torch.randn(6, 1, 2).as_strided((6, 1, 2), (2, 99, 1))),
    ]
    for p in params:
        p.grad = torch.zeros_like(p) if p.dim() != 3 else torch.zeros(12).as_strided(*shape(p))
    assert same(gather(params, {}), params, {})


def shape(p):
    return p.shape, p.stride()


def test_a_layout_is_known_by_shape_strides_and_device():
    tensors = [
        torch.ones(4, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.ones(5, 1, 1).transpose(0, 2),
        torch.ones(()),
        nn.Parameter(torch.ones(0, 3)),
    ]

    def laid_out(found, others=()):
        known = [*tensors, *others]
        layouts = [t.shape for t in known], [t.stride() for t in known]
        return native.are_laid_out(found, *layouts, torch.zeros(1))

    assert laid_out(tensors)
    assert not laid_out(tensors[:-1])
    for i in (0, 1):
        moved = [*tensors[:i], tensors[i].contiguous(), *tensors[i + 1 :]]
        assert laid_out(moved) == (i == 1)  # sizes of 1
        assert not laid_out([*tensors[:i], tensors[i][None], *tensors[i + 1 :]])
    longer = torch.cat([tensors[0]] * 2)
    assert longer.stride() == tensors[0].stride()
    assert not laid_out([longer, *tensors[1:]])
    elsewhere = [torch.ones(2, device="meta")]
    assert not laid_out([*tensors, *elsewhere], elsewhere)


def test_a_row_is_known_by_its_length():
    bytes_ = torch.zeros(64, dtype=torch.uint8)
    for row, bits in ((bytes_, 8), (bytes_.view(torch.int32), 32), (bytes_.view(torch.int64), 64)):
        assert native.row_of(row, bits, torch.ones(1)) == row.numel()
        assert native.row_of(row[8:16], bits, row) == row[8:16].numel()
        wrong = [row[::2], row[None], row.float(), row.to("meta")]
        wrong += [row[1:]] if bits == 8 else []
        assert all(native.row_of(w, bits, row) == -1 for w in wrong)
        assert native.row_of(row, bits, row.to("meta")) == -1
        assert native.row_of(row, 16, row) == -1
    assert native.row_of(bytes_.view(torch.int8), 8, bytes_) == -1
    assert native.row_of(bytes_.view(torch.uint32), 32, bytes_) == -1


def test_read_weights_are_read_no_second_time():
    tensors = [torch.ones(3, 2), nn.Parameter(torch.ones(5))]
    once = native.read_weights((6, 5), tensors)
    assert native.read_weights((6, 5), once) is once
    assert native.operands(once) is once.operands
    assert native.read_weights((6, 6), once) is None
    assert native.read_weights((6,), once) is None
