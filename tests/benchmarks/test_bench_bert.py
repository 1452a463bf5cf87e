"""The benchmark of BERT, on one that takes no time."""

import bert_round
import bert_text
import pytest

pytest.importorskip("transformers")
TINY = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 24}


def test_it_times_the_step_the_optimisers_and_the_input(monkeypatch):
    monkeypatch.setattr(bert_round, "SMALL", TINY)
    monkeypatch.setattr(bert_text, "LENGTH", 24)
    monkeypatch.setattr(bert_round, "VOCABULARY", 2000)
    found = bert_round.compare(quick=True)
    ops = [comparison.op for comparison in found.comparisons]
    assert ops == [
        "a step and a prune, small BERT",
        "a step, small BERT",
        "measure, prune, rewind, small BERT",
        "input of 32 rows of 24 tokens, small BERT",
        "AdamW, all parameters, small BERT",
        "AdamW, all parameters, small BERT",
    ]
    assert all(ms > 0 for comparison in found.comparisons for ms in comparison.ms.values())
    assert found.facts == []  # so small a network is held to no target


def test_the_input_is_held_to_its_share_of_a_step():
    ms = {"batches": 1.0, "a step": 100.0}
    ms |= {"tokens found in the cache, once a run": 3.0, "tokens made, once a run": 90.0}
    found, made = bert_round._inputs(ms, "BERT-base")
    assert (found.value, found.passed) == (pytest.approx(0.011), True)
    assert (made.value, made.passed) == (pytest.approx(0.04), False)
