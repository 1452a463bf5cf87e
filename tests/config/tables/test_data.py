from __future__ import annotations

from collections.abc import Callable

import pytest

from impcore.config import Config

Refuse = Callable[[str, object], None]

REFUSED = [
    ("data.name", "../cifar10"), ("data.augment", True), ("data.root", 1),
    ("data.validation", -1), ("data.validation", 5.0), ("data.drop_last", 1),
    ("data.cache", ""), ("data.image_size", 0), ("data.image_size", 224.0),
    ("data.source", "web"), ("data.tokenizer", ""), ("data.max_length", 7),
    ("data.max_length", True), ("data.doc_stride", 0),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)


def test_folders_have_a_size_and_others_none(recipe: Callable[..., dict]) -> None:
    assert Config.from_dict(recipe()).data.image_size is None
    assert Config.from_dict(recipe(data={"name": "imagenet"})).data.image_size == 224
    given = Config.from_dict(recipe(data={"name": "image_folder", "image_size": 64}))
    assert given.data.image_size == 64


def test_where_decoded_images_are_kept_decides_nothing(recipe: Callable[..., dict]) -> None:
    one = Config.from_dict(recipe(data={"name": "imagenet"}))
    other = Config.from_dict(recipe(data={"name": "imagenet", "cache": "/fast"}))
    assert one.fingerprint() == other.fingerprint()
