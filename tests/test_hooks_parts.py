"""A step is followed for what it stepped: a part of a model, several models, one parameter each."""

from __future__ import annotations

import pytest
import torch
from library_cases import backward, net, regrown
from torch import nn

import impcore
from impcore.ops import native


def test_a_subset_is_masked_and_other_models_are_left_alone() -> None:
    model, other = net(), net(1)
    masks = impcore.prune_global(model, 0.5)
    with torch.no_grad():
        model.fc.weight.fill_(3.0)  # by hand: only a step is followed
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    backward(other)
    expected = {n: p.detach() - 0.1 * p.grad for n, p in other.named_parameters()}
    optimizer.step()
    assert bool((model.fc.weight == 3).all())
    for n, p in other.named_parameters():
        torch.testing.assert_close(p.detach(), expected[n])
    biases = torch.optim.SGD([model.fc.bias], lr=0.1)
    backward(model)
    biases.step()
    assert bool((model.fc.weight == 3).all())
    with torch.no_grad():
        model.conv1.weight.fill_(3.0)
    subset = torch.optim.SGD([model.conv1.weight], lr=0.1)
    subset.step()
    assert bool((model.conv1.weight[~masks["conv1.weight"]] == 0).all())
    assert bool((model.fc.weight == 3).all())


def test_optimisers_that_step_within_the_backward_pass() -> None:
    """One of each parameter, while autograd has yet to use the weights of the layers below."""
    model, twin = (nn.Sequential(*[nn.Linear(4, 4) for _ in range(4)]) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    masks, reference = (impcore.prune_global(m, 0.5) for m in (model, twin))
    within = {p: torch.optim.Adam([p], lr=0.1, weight_decay=0.1) for p in model.parameters()}
    after = torch.optim.Adam(twin.parameters(), lr=0.1, weight_decay=0.1)

    def step(p: torch.Tensor) -> None:
        within[p].step()
        within[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        x = torch.randn(3, 4)
        model(x).square().sum().backward()
        twin(x).square().sum().backward()
        after.step()
        after.zero_grad()
        assert regrown(masks) == 0
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(a, b)
    assert reference.hash == masks.hash


def test_a_part_is_stepped_while_another_waits_for_its_backward_pass() -> None:
    parts = nn.ModuleDict({"maker": nn.Linear(4, 4), "judge": nn.Linear(4, 1)})
    masks = impcore.prune_global(parts, 0.5)
    made = nn.Sequential(parts["maker"], nn.ReLU(), parts["maker"])
    maker, judge = (torch.optim.Adam(part.parameters(), lr=0.1) for part in parts.values())
    for _ in range(3):
        fake = made(torch.randn(3, 4))
        parts["judge"](fake.detach()).sum().backward()
        judge.step()
        parts["judge"](fake).sum().backward()
        maker.step()
        assert regrown(masks) == 0


def test_of_one_optimiser_a_parameter_each_reads_its_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(8)])
    masks = impcore.prune_global(model, 0.5)
    optimizers = [torch.optim.SGD([p], lr=0.1, weight_decay=0.1) for p in model.parameters()]
    model(torch.randn(3, 4)).square().sum().backward()
    counts, read = [], native.read_weights
    monkeypatch.setattr(
        native, "read_weights", lambda *given: (counts.append(len(given[1])), read(*given))[1]
    )
    for optimizer in optimizers:
        optimizer.step()
    assert regrown(masks) == 0
    assert set(counts) == {1}
    model[3].weight.data = model[3].weight.data.t().contiguous().t()  # its bits have to follow
    optimizers[3].step()
    assert regrown(masks) == 0


def test_two_models_in_one_optimiser() -> None:
    models = [net(0), net(1)]
    masks = [impcore.prune_global(m, 0.5) for m in models]
    optimizer = torch.optim.AdamW([{"params": m.parameters()} for m in models], weight_decay=0.1)
    for step in range(3):
        for m in models:
            backward(m, step)
        optimizer.step()
        assert [regrown(m) for m in masks] == [0, 0]


@pytest.mark.parametrize("own", [0, 1])
def test_an_optimiser_with_masks_of_its_own_is_followed_for_the_other_model(
    own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, applied = [net(0), net(1)], []
    masks = [impcore.prune_global(m, 0.5) for m in models]
    apply_to = impcore.Masks.apply_to
    monkeypatch.setattr(
        impcore.Masks, "apply_to", lambda self, i: (applied.append(self), apply_to(self, i))
    )
    groups = [{"params": m.parameters()} for m in models]
    optimizer = impcore.MaskedSGD(groups, lr=0.1, weight_decay=0.1, masks=masks[own])
    for step in range(3):
        for m in models:
            backward(m, step)
        optimizer.step()
        assert [regrown(m) for m in masks] == [0, 0]
    assert applied == [masks[1 - own]] * 3


def test_a_compiled_step_masks_what_it_steps_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    masks = impcore.prune_global(model, 0.5)
    optimizer = torch.optim.Adafactor(model[1].parameters(), lr=0.1)
    torch._dynamo.reset()
    compiled = torch.compile(optimizer.step, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        with torch.no_grad():
            model[0].weight.fill_(3.0)
        model(torch.randn(3, 8)).square().sum().backward()
        compiled()
        assert bool((model[0].weight == 3).all())
        assert not bool(model[1].weight[~masks["1.weight"]].any())
