from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.config import Config
from impcore.errors import ConfigError

from .strategies import recipes

Recipe = Callable[..., dict[str, dict[str, object]]]


@given(recipes, st.integers(1, 10**5))
def test_whatever_is_accepted_keeps_the_order(raw: dict[str, object], per_epoch: int) -> None:
    try:
        steps = Config.from_dict(raw).schedule(per_epoch)
    except ConfigError:
        return
    bounds = [0, *steps.milestones, steps.total]
    assert all(before < after for before, after in pairwise(bounds))
    assert 0 <= steps.rewind < steps.total
    assert 0 <= steps.warmup < steps.total <= steps.horizon
    assert steps.finetune >= 1
    assert steps.checkpoint_every >= 1


def test_lengths_of_all_units(recipe: Recipe) -> None:
    config = Config.from_dict(
        recipe(
            train={"milestones": ["100it", "6ep", "90%"], "warmup": "0.5ep"},
            rewind={"kind": "finetune", "to": "5%", "length": "20%"},
        )
    )
    steps = config.schedule(22)
    assert (steps.total, steps.milestones, steps.warmup) == (220, (100, 132, 198), 11)
    assert (steps.rewind, steps.finetune, steps.checkpoint_every) == (11, 44, 22)


def test_what_only_the_data_can_tell_is_refused_with_every_key(recipe: Recipe) -> None:
    config = Config.from_dict(
        recipe(
            train={"milestones": ["100it", "1ep", "9999it"], "warmup": "0.000001%"},
            rewind={"to": "220it"},
        )
    )
    with pytest.raises(ConfigError) as caught:
        config.schedule(22)
    inside = "should be at least 1 and below 220"
    assert str(caught.value).splitlines() == [
        f"train.milestones = '9999it': is 9999 steps at 22 an epoch; {inside}",
        f"train.warmup = '0.000001%': is 0 steps at 22 an epoch; {inside}",
        f"rewind.to = '220it': is 220 steps at 22 an epoch; {inside.replace('1 and', '0 and')}",
        "train.milestones = ['100it', '1ep', '9999it']: should rise; "
        "in steps they are [100, 22, 9999]",
    ]


@pytest.mark.parametrize(("span", "horizon"), [("round", 220), ("all", 880)])
def test_a_decay_may_span_all_rounds(recipe: Recipe, span: str, horizon: int) -> None:
    train = {"schedule": "linear", "lr_span": span}
    assert Config.from_dict(recipe(train=train)).schedule(22).horizon == horizon
