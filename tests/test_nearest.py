from __future__ import annotations

from impcore.nearest import nearest

KNOWN = {"magnitude": 1, "movement": 2}


def test_the_closest_name_is_quoted_and_a_far_one_is_not() -> None:
    assert nearest("magnitud", KNOWN) == " (nearest: 'magnitude')"
    assert nearest("mvoement", KNOWN) == " (nearest: 'movement')"
    assert nearest("xyz", KNOWN) == ""
    assert nearest(3, KNOWN) == ""
    assert nearest("magnitude", ()) == ""
