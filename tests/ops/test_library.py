"""What PyTorch has to know about every op: schema, fake outputs, versions, compilation."""

import pytest
import torch

from impcore import ops

from . import tensors

PLAN = ops.Plan.make([40, 0, 33], blocks=[0, 1, 1])
impcore_ops = torch.ops.impcore


def weights(grad=False):
    gen = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=gen).requires_grad_(grad) for n in PLAN.numels]


def arena():
    return tensors.pack([torch.arange(n).numpy() % 3 != 0 for n in PLAN.numels])


def selected():
    return torch.zeros(1, dtype=torch.int64)


def workspace():
    return ops.workspace(PLAN).zero_()


SAMPLES = {
    "topk_mask": lambda: (
        *(PLAN.chunks, weights(), arena(), arena() * 0, torch.tensor(9), workspace(), 2),
        [],
    ),
    "commit": lambda: (PLAN.chunks, weights(), arena(), arena() * 0, selected(), []),
    "commit with a source": lambda: (
        *(PLAN.chunks, weights(), arena(), arena() * 0, selected(), weights()),
    ),
    "rewind": lambda: (PLAN.chunks, weights(), arena(), []),
    "rewind to a source": lambda: (PLAN.chunks, weights(), arena(), weights()),
    "rewind nothing": lambda: (ops.Plan.make([]).chunks, [], torch.zeros(0, dtype=torch.int32), []),
    "block_l1": lambda: (PLAN.chunks, weights(), arena(), 2),
    "block_l1 of parameters": lambda: (PLAN.chunks, weights(grad=True), arena(), 2),
    "pack": lambda: (torch.arange(70) % 3 == 0,),
    "unpack": lambda: (arena(), 40),
    "count": lambda: (arena(),),
    "counts": lambda: (PLAN.chunks, arena(), 3),
    "permute": lambda: (arena()[:2], [5, 8], [8, 1], [1, 5]),
}


def test_every_op_has_a_sample():
    names = {name.partition(" ")[0] for name in SAMPLES}
    registered = {
        name for name in dir(impcore_ops) if hasattr(getattr(impcore_ops, name), "default")
    }
    steps = {"masked_sgd", "masked_adamw"}  # test_masked_step_contract.py has theirs
    assert registered - steps == names


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("threads", [1], indirect=True)
def test_opcheck(sample, threads):
    op = getattr(impcore_ops, sample.partition(" ")[0]).default
    torch.library.opcheck(op, SAMPLES[sample]())


# The tensors of SAMPLES that an op writes to, by position.
WRITES = {"topk_mask": [3, 5], "commit": [1, 2], "rewind": [1]}


@pytest.mark.parametrize("sample", SAMPLES)
def test_versions_rise_where_an_op_writes_and_nowhere_else(sample, backend):
    name = sample.partition(" ")[0]
    arguments = SAMPLES[sample]()
    lists = [a if isinstance(a, list) else [a] for a in arguments]
    flat = [(i, t) for i, row in enumerate(lists) for t in row if isinstance(t, torch.Tensor)]
    before = [t._version for _, t in flat]
    getattr(impcore_ops, name).default(*arguments)
    rose = {i for (i, t), version in zip(flat, before, strict=True) if t._version > version}
    stayed = {i for (i, t), version in zip(flat, before, strict=True) if t._version == version}
    written = set(WRITES.get(name, [])) & {i for i, _ in flat}
    assert rose == written
    assert not stayed & written


def write_by_rewind(theta):
    ops.rewind(PLAN_OF_FOUR, [theta], torch.tensor([0b0101], dtype=torch.int32))


def write_by_commit(theta):
    mask_out = torch.tensor([0b0101], dtype=torch.int32)
    ops.commit(
        PLAN_OF_FOUR, [theta], torch.tensor([0b1111], dtype=torch.int32), mask_out, selected()
    )


PLAN_OF_FOUR = ops.Plan.make([4])


@pytest.mark.parametrize("write", [write_by_rewind, write_by_commit])
@pytest.mark.parametrize("leaf", [False, True])
def test_a_backward_through_a_value_that_an_op_changed_raises(write, leaf, backend):
    """Without the version counter this gave a silently wrong gradient."""
    theta = torch.nn.Parameter(torch.ones(4)) if leaf else torch.ones(4)
    x = torch.ones(4, requires_grad=True)
    loss = (theta * x).sum()  # backward needs theta as it was
    write(theta)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_ops_run_under_inference_mode_and_no_grad(backend):
    with torch.inference_mode():
        theta, mask = torch.ones(4), torch.tensor([0b0101], dtype=torch.int32)
        ops.rewind(PLAN_OF_FOUR, [theta], mask)
        assert theta.tolist() == [1, 0, 1, 0]
    outside = torch.nn.Parameter(torch.ones(4))
    with torch.inference_mode():
        ops.rewind(PLAN_OF_FOUR, [outside], torch.tensor([0b0101], dtype=torch.int32))
    with torch.no_grad():
        ops.rewind(PLAN_OF_FOUR, [outside], torch.tensor([0b0001], dtype=torch.int32))
    assert outside.tolist() == [1, 0, 0, 0]


def test_compile_takes_block_l1_and_rewind_whole():
    def step(a, b, mask):
        ops.rewind(PLAN_OF_TWO, [a, b], mask)
        sums = ops.block_l1(PLAN_OF_TWO, [a, b], mask)
        return sums[0] / sums[0].sum(), (a * a).sum() + b.sum()

    PLAN_OF_TWO = ops.Plan.make([40, 33])
    mask = tensors.pack([torch.arange(n).numpy() % 3 != 0 for n in (40, 33)])
    a, b = torch.randn(8, 5), torch.randn(33)
    eager = [t.clone() for t in (a, b)]
    want = step(*eager, mask)
    torch.compiler.reset()
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(a, b, mask)
    for value, wanted in zip((*got, a, b), (*want, *eager), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0)
    assert not a.view(-1)[0]


def test_compile_takes_a_forward_and_loss_over_masked_weights():
    layer = torch.nn.Linear(6, 4)
    plan = ops.Plan.make([24])
    mask = torch.tensor([0x00AAAAAA], dtype=torch.int32)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def loss(x):
        return layer(x).square().sum() + ops.block_l1(plan, [layer.weight], mask)[0, 0]

    x = torch.randn(3, 6)
    value = loss(x)
    value.backward()
    sums = ops.block_l1(plan, [layer.weight], mask)
    torch.testing.assert_close(value, (layer(x).square().sum() + sums[0, 0]).detach())
    with_sums, layer.weight.grad = layer.weight.grad, None
    layer(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, with_sums)


def test_block_sums_carry_no_gradient(backend):
    sums = ops.block_l1(PLAN_OF_FOUR, [torch.ones(4, requires_grad=True)], torch.ones(1).int())
    assert not sums.requires_grad
