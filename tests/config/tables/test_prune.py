from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("prune.max_drop", 0), ("prune.max_drop", 1), ("prune.max_drop", 5.0),
    ("prune.rounds", -1), ("prune.rounds", 1001), ("prune.rounds", True), ("prune.rounds", 3.0),
    ("prune.rate", 1), ("prune.rate", 1.0), ("prune.rate", -0.2), ("prune.rate", True),
    ("prune.rate", "0.2"), ("prune.rate", float("nan")), ("prune.rate", [0.2]),
    ("prune.include", []), ("prune.include", "layer1.*"), ("prune.scope", "local"),
    ("prune.scope", True), ("prune.score", "snipp"), ("prune.score", 1), ("prune.min_keep", -1),
    ("prune.min_keep", 1.0), ("prune.score_batches", 0), ("prune.score_batches", "1"),
    ("prune.score_temperature", 0), ("prune.score_temperature", float("inf")),
    ("prune.theta", "init"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)


def test_the_scores_are_those_of_the_library() -> None:
    from typing import get_args

    from impcore.config.tables.prune import Prune, ScoreName
    from impcore.cuts import CUTS
    from impcore.scores import SCORES

    assert get_args(ScoreName) == tuple(SCORES)
    assert set(Prune.OPTIONS["score"]) == set(SCORES)
    assert get_args(Prune.model_fields["scope"].annotation) == tuple(CUTS)


def test_options_have_their_defaults_where_the_score_takes_them() -> None:
    from impcore.config import Prune

    found = {
        score: Prune(rounds=1, score=score).options_of("score")
        for score in ("magnitude", "snip", "grasp")
    }
    assert found == {
        "magnitude": {},
        "snip": {"score_batches": 1},
        "grasp": {"score_batches": 1, "score_temperature": 200.0},
    }
