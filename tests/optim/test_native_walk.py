"""Steps by the native walk over a group, and what it leaves to Python."""

import torch

from impcore import Masks, masks_of

from .cases import both_kinds, bytes_of, check_close, net, pruned, set_gradients


@both_kinds
def test_most_steps_take_the_native_walk(kind, monkeypatch):
    model = net()
    optimizer = kind.ours(model.parameters(), masks=pruned(model), **kind.heavy)
    set_gradients([model], 0)
    optimizer.step()
    monkeypatch.setattr(kind.ours, "_gather", None)
    optimizer.step()


@both_kinds
def test_a_layer_unfrozen_late_is_stepped_in_the_native_walk_from_then_on(kind, monkeypatch):
    model, theirs = net(), net()
    mine = kind.ours(model.parameters(), masks=Masks(model), **kind.heavy)
    other = kind.theirs(theirs.parameters(), **kind.heavy)
    for step in range(6):
        set_gradients([model, theirs], step)
        if step < 2:
            model[0].weight.grad = theirs[0].weight.grad = None
        if step == 4:
            monkeypatch.delattr("impcore.optim.masked_optimizer.MaskedOptimizer._gather")
        mine.step()
        other.step()
    check_close(model, theirs)


@both_kinds
def test_what_the_native_walk_leaves_to_python_makes_the_same_step(kind, monkeypatch):
    """As under a PyTorch whose tensors it cannot read, and with what is unusual in between."""
    runs = []
    for native_walk in (True, False):
        if not native_walk:
            monkeypatch.setattr("impcore.ops.native.gather", lambda *args: None)
        model = net()
        head = [model[3].weight, model[3].bias]
        rest = [p for p in model.parameters() if all(p is not h for h in head)]
        groups = [{"params": rest}, {"params": head, "weight_decay": 0.0}]
        optimizer = kind.ours(groups, masks=pruned(model), **kind.heavy)
        seen = []
        for step in range(8):
            set_gradients([model], step)
            if step == 2:
                model[3].bias.grad = None
            if step == 3:
                model[0].weight.data = model[0].weight.data.clone()
            if step == 4:
                state = optimizer.state[model[3].weight]
                state[kind.state] = state[kind.state].clone()
            if step == 5:
                optimizer.state[model[3].bias] = optimizer.state.pop(model[3].bias)
            if step == 6:
                masks_of(model)["3.weight"] = torch.arange(60).view(5, 12) % 7 == 0
            optimizer.step()
            seen.append(bytes_of(model))
        runs.append((seen, [v.tolist() for s in optimizer.state.values() for v in s.values()]))
    assert runs[0] == runs[1]
