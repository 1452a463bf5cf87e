from __future__ import annotations

from impcore.nearest import closest, nearest

KNOWN = {"magnitude": 1, "movement": 2}


def test_the_closest_name_is_quoted_and_a_far_one_is_not() -> None:
    assert nearest("magnitud", KNOWN) == " (nearest: 'magnitude')"
    assert nearest("mvoement", KNOWN) == " (nearest: 'movement')"
    assert nearest("xyz", KNOWN) == ""
    assert nearest(3, KNOWN) == ""
    assert nearest("magnitude", ()) == ""


def test_of_names_as_close_the_one_with_most_in_one_piece_is_meant() -> None:
    for names in (["resnet20", "resnet32"], ["resnet32", "resnet20"]):
        assert closest("resnet21", names) == "resnet20"
        assert closest("resnet31", names) == "resnet32"
    assert closest("mnist", ["cifar10", "fashion_mnist"]) == "fashion_mnist"
    assert closest("zzz", names) is None
