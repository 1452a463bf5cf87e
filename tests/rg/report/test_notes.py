"""What a report says of its numbers holds for the estimator that made them."""

from __future__ import annotations

import pytest

from impcore.rg import report
from impcore.rg.estimators import ESTIMATORS
from impcore.rg.report import notes
from impcore.rg.report.subject import Options

from .test_report import read


def test_every_estimator_has_its_own_words() -> None:
    assert len({notes.uncertainty(name) for name in ESTIMATORS}) == len(ESTIMATORS)


@pytest.mark.parametrize(
    ("estimator", "width"), [("mean_log", "far too wide"), ("regression", "far too narrow")]
)
def test_the_report_says_when_its_interval_is_right(make_run, estimator: str, width: str) -> None:
    text = read(report.write(make_run(5), options=Options(estimator=estimator))).text
    assert notes.uncertainty(estimator) in text
    assert width in text


def test_the_report_says_what_its_tests_do_not_show(make_run) -> None:
    text = read(report.write(make_run(5))).text
    assert "of many blocks that stand still some are called relevant or irrelevant" in text
    assert "a large one is no proof of it" in text
