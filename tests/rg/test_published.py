"""The published tables, and the paper's claims recomputed from them by the same functions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from impcore import rg
from impcore.rg.published import table

RESNETS = ("ResNet-14", "ResNet-20", "ResNet-32", "ResNet-44", "ResNet-56")
SMALL, LARGE = RESNETS[:2], RESNETS[2:]


def test_tables_hold_what_was_printed():
    assert table(2).rows["CIFAR-10"] == (0.2, 0.14, 0.07, -0.68)
    assert table(2).rows["PT CIFAR-100"] == (0.15, 0.22, 0.1, -0.16)
    assert list(table(3).rows) == [
        "MNLI", "QQP", "STS-B", "WNLI", "QNLI", "MRPC", "RTE", "SST-2", "CoLA", "SQuAD v1.1",
    ]  # fmt: skip
    assert table(3).rows["SQuAD v1.1"][0] == -0.052
    assert table(4).printed("ResNet-44")[:2] == ("−0.03", "−0.00")
    assert table(3).printed("MNLI")[7] == "−0.010"
    assert table(7).columns == ("none", "ImageNet", "simCLR", "MoCo")
    assert table(7).rows["simCLR"] == (None, None, -1.01, None)
    for number in (4, 5, 6):
        assert [len(row) for row in table(number).rows.values()] == [1, 2, 4, 6, 8]


def test_table_3_sums_to_zero_as_shares_nearly_at_a_fixed_point_do():
    for row in table(3).rows.values():
        assert abs(sum(row)) <= 0.0021


def test_they_print_and_render():
    text = str(table(2))
    assert text.startswith("Table 2 of Redman et al. (2022)")
    assert "+0.20  +0.14  +0.07  -0.68" in text
    assert "<td>−0.68</td>" in table(2)._repr_html_()
    assert str(table(4)).splitlines()[2].split() == ["ResNet-14", "+0.23"]


@pytest.mark.parametrize("number", [1, 8, True, "2"])
def test_another_number_is_refused(number):
    with pytest.raises(ValueError, match="number must be one of 2, 3, 4, 5, 6, 7"):
        table(number)


def test_only_sigma_makes_a_vector():
    with pytest.raises(ValueError, match=r"row must be one of CIFAR-10, .* not 'MNIST'"):
        table(2).vector("MNIST")
    with pytest.raises(ValueError, match="Table 7 holds γ"):
        table(7).vector("CIFAR-10")


def test_claim_stages_1_to_3_are_relevant_and_stage_4_is_not():
    for row in table(2).rows:
        assert table(2).vector(row).relevance == ["relevant"] * 3 + ["irrelevant"]


def test_claim_pre_training_draws_the_tasks_together():
    two = table(2)
    without = rg.distance(two.vector("CIFAR-10"), two.vector("CIFAR-100"))
    pretrained = rg.distance(two.vector("PT CIFAR-10"), two.vector("PT CIFAR-100"))
    assert pretrained.value < 0.25 * without.value
    assert abs(pretrained.differences[3]) < abs(without.differences[3])  # σ4 most of all


def test_claim_bert_is_one_to_two_orders_nearer_a_fixed_point_than_resnet_50():
    bert = [rg.fixed_point(table(3).vector(row)) for row in table(3).rows]
    resnet = [rg.fixed_point(table(2).vector(row)) for row in table(2).rows]
    slowest = min(score.typical for score in resnet)
    for score in bert:
        assert 10 < slowest / score.typical < 100
        assert score.speed < min(other.speed for other in resnet) / 5  # σ1 of BERT included
    assert all(abs(row[0]) > 2 * max(map(abs, row[1:])) for row in table(3).rows.values())


def test_claim_bert_tasks_nearly_match_each_other():
    vectors = {row: table(3).vector(row) for row in table(3).rows}
    pairs = combinations(vectors.values(), 2)
    assert max(rg.distance(a, b).value for a, b in pairs) < 0.0025
    clusters = rg.cluster(vectors)
    assert len(clusters.groups(0.0025)) == 1
    farthest = np.argmax(clusters.distances.mean(axis=0))
    assert clusters.labels[farthest] == "SQuAD v1.1"  # the one task that is not of GLUE


@pytest.mark.parametrize("number", [4, 5, 6])
def test_claim_smaller_resnets_are_more_uniform(number):
    spread = {row: rg.uniformity(table(number).vector(row)).spread[0] for row in table(number).rows}
    assert max(spread[row] for row in SMALL) < min(spread[row] for row in LARGE)


def test_claim_small_resnets_have_only_relevant_blocks_in_stage_1_and_large_ones_do_not():
    for row in SMALL:
        assert set(table(4).vector(row).relevance) == {"relevant"}
    for row in LARGE:
        verdicts = table(4).vector(row).relevance
        early = verdicts[: len(verdicts) // 2]
        assert "relevant" in verdicts
        assert set(early) - {"relevant"}  # most of the negative σ are early
        assert set(verdicts[len(verdicts) // 2 :]) == {"relevant"}


def test_claim_stage_3_has_no_relevant_block():
    for row in RESNETS:
        assert set(table(6).vector(row).relevance) == {"irrelevant"}


def test_claim_exponents_differ_but_mostly_by_little():
    gammas = np.array([value for row in ("CIFAR-10", "CIFAR-100", "SVHN")
                       for value in table(7).rows[row]])  # fmt: skip
    assert (gammas < 0).all()
    assert np.ptp(gammas) < 0.3
    assert table(7).rows["simCLR"][2] < 3 * gammas.min()  # the pre-training tasks stand apart
