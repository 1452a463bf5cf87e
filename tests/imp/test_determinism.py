from __future__ import annotations

import json
import random

import numpy as np
import torch

from impcore.imp import determinism, tree

CPU = torch.device("cpu")


def draw() -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        *torch.randn(3).tolist(),
    ]


def test_every_generator_goes_on_where_it_was_through_json() -> None:
    determinism.seed_all(5)
    draw()
    split, tensors = tree.split(determinism.capture(CPU), "random")
    split, tensors = json.loads(json.dumps(split)), {k: t.clone() for k, t in tensors.items()}
    wanted = [draw() for _ in range(5)]
    determinism.seed_all(6)
    assert [draw() for _ in range(5)] != wanted
    determinism.restore(tree.join(split, tensors), CPU)
    assert [draw() for _ in range(5)] == wanted


def test_the_same_seed_gives_the_same_numbers() -> None:
    determinism.seed_all(2**32 - 1)
    first = draw()
    determinism.seed_all(2**32 - 1)
    assert draw() == first


def test_settings_hold_within_and_are_put_back() -> None:
    before = torch.get_num_threads()
    with determinism.deterministic(1):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.get_num_threads() == before
