"""The names, and what the keywords of prune_global must be for each."""

from __future__ import annotations

import pytest
import torch
from library_cases import net, same_bits, snapshot
from torch import nn

import impcore
from impcore import scores


@pytest.mark.parametrize(
    ("keywords", "error", "phrase"),
    [
        ({"score": "magnitud"}, ValueError, "score='magnitud' is not known.*nearest: 'magnitude'"),
        ({"score": "movement"}, ValueError, r"impcore\.scores\.Movement"),
        ({"score": None}, TypeError, "a name, a mapping or a function, not None"),
        ({"score": "snip"}, ValueError, "'snip' needs data="),
        ({"score": "grasp", "data": [1]}, ValueError, "'grasp' needs loss="),
        ({"score": "synflow"}, ValueError, "'synflow' needs data="),
        ({"score": "synflow", "data": (3,), "loss": print}, ValueError, "loss= is not used"),
        ({"data": [1]}, ValueError, "data= is not used by score='magnitude'"),
        ({"score": {}, "loss": print}, ValueError, "loss= is not used by score=a dict"),
        ({"seed": 1}, ValueError, "seed= is not used by score='magnitude'"),
        ({"score": "random", "seed": 1.5}, ValueError, "seed must be an integer, got 1.5"),
        ({"score": lambda model: 3}, TypeError, "must return a mapping, not int"),
        ({"scope": "local"}, ValueError, "scope='local' is not known.*nearest: 'global'"),
        ({"scope": 3}, ValueError, "scope=3 is not known"),
        ({"min_keep": -1}, ValueError, "min_keep must be an integer >= 0, got -1"),
        ({"min_keep": 0.5}, ValueError, "min_keep must be an integer >= 0, got 0.5"),
        ({"min_keep": True}, ValueError, "min_keep must be an integer >= 0, got True"),
    ],
)
def test_a_wrong_keyword_is_refused_by_name(
    keywords: dict[str, object], error: type[Exception], phrase: str
) -> None:
    model = net()
    before = snapshot(model)
    with pytest.raises(error, match=phrase):
        impcore.prune_global(model, 0.2, **keywords)
    assert same_bits(model, before)
    assert impcore.masks_of(model) is None


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "random"])
def test_a_name_is_its_function(name: str) -> None:
    x = torch.randn(4, 3, 5, 5)
    given = {
        "snip": {"data": [x], "loss": lambda m, b: m(b).square().sum()},
        "grasp": {"data": [x], "loss": lambda m, b: m(b).square().sum()},
        "synflow": {"data": x},
        "random": {"seed": 4},
    }[name]
    models = [net(), net(), net()]
    function = getattr(scores, name)
    hashes = {
        impcore.prune_global(models[0], 0.4, score=name, **given).hash,
        impcore.prune_global(models[1], 0.4, score=function(models[1], **given)).hash,
        impcore.prune_global(models[2], 0.4, score=lambda m: function(m, **given)).hash,
    }
    assert len(hashes) == 1


def test_a_function_sees_the_masked_model() -> None:
    model = net()

    def score(inner: nn.Module) -> dict[str, torch.Tensor]:
        assert inner is model
        return {name: mask.float() for name, mask in impcore.masks_of(inner).items()}

    masks = impcore.prune_global(nn.DataParallel(model), count=5, score=score)
    assert masks.remaining == masks.total - 5


def test_scores_and_a_random_scope_go_together() -> None:
    model = net()
    x = torch.randn(4, 3, 5, 5)
    masks = impcore.prune_global(
        model, 0.4, scope="random", seed=3, score="snip", data=[x], loss=lambda m, b: m(b).sum()
    )
    assert masks.remaining == masks.total - round(0.4 * masks.total)


def test_every_row_is_documented_and_reachable() -> None:
    for name, row in scores.SCORES.items():
        assert row.run is None or row.run.__doc__
        assert name == "magnitude" or row.run is not None or row.hint
