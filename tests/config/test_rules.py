from __future__ import annotations

from collections.abc import Callable

import pytest

from impcore.config import Config
from impcore.errors import ConfigError

Recipe = Callable[..., dict[str, dict[str, object]]]

BROKEN = [
    ({"train": {"milestones": ["10ep"]}}, "train.milestones = '10ep'", "below train.length"),
    ({"train": {"milestones": ["5ep", "3ep"]}}, "train.milestones", "'3ep' should be after '5ep'"),
    ({"train": {"milestones": ["5ep", "5ep"]}}, "train.milestones", "'5ep' should be after '5ep'"),
    ({"train": {"milestones": ["5ep", "40%"]}}, "train.milestones", "'40%' should be after '5ep'"),
    ({"train": {"warmup": "100%"}}, "train.warmup = '100%'", "below train.length"),
    ({"train": {"nesterov": True, "momentum": 0}}, "train.nesterov = true", "train.momentum"),
    (
        {"train": {"optimizer": "adamw", "momentum": 0.9}},
        "train.momentum = 0.9",
        'needs train.optimizer = "sgd"',
    ),
    ({"train": {"eps": 1e-6}}, "train.eps = 1e-06", 'needs train.optimizer = "adamw"'),
    (
        {"train": {"schedule": "linear", "milestones": ["5ep"]}},
        "train.milestones = ['5ep']",
        'needs train.schedule = "milestones"',
    ),
    ({"train": {"lr_end": 0.5}}, "train.lr_end = 0.5", '"linear" or "cosine" or "onecycle"'),
    (
        {"train": {"schedule": "onecycle", "lr_span": "all"}},
        "train.lr_span = 'all'",
        'needs train.schedule = "linear" or "cosine"',
    ),
    ({"prune": {"rate": 0}}, "prune.rate = 0.0", "should be above 0"),
    ({"prune": {"schedule": "linear", "rate": 0.1, "rounds": 10}}, "prune.rate = 0.1", "below 0.1"),
    ({"prune": {"densities": [0.5]}}, "prune.densities = [0.5]", "explicit"),
    ({"prune": {"schedule": "explicit"}}, "prune.rounds = 3", "0 densities"),
    (
        {"prune": {"schedule": "explicit", "densities": [0.5, 0.6, 0.1]}},
        "prune.densities",
        "0.6 should be below 0.5",
    ),
    (
        {"prune": {"score_batches": 2}},
        "prune.score_batches = 2",
        'needs prune.score = "snip" or "grasp"',
    ),
    ({"prune": {"score": "snip", "score_temperature": 9}}, "prune.score_temp", '"grasp"'),
    ({"prune": {"score": "movement", "theta": "rewound"}}, "prune.theta", "of a training"),
    (
        {"prune": {"theta": "rewound"}, "rewind": {"kind": "lr"}},
        "prune.theta = 'rewound'",
        'needs rewind.kind = "weights"',
    ),
    ({"rewind": {"to": "10ep"}}, "rewind.to = '10ep'", "below train.length = '10ep'"),
    ({"rewind": {"to": "pretrained"}}, "rewind.to = 'pretrained'", "model.path"),
    ({"model": {"stem": "imagenet"}}, "model.stem = 'imagenet'", "the only one of resnet"),
    (
        {"data": {"augment": "resized_crop"}},
        "data.augment = 'resized_crop'",
        "none or crop or flip",
    ),
    (
        {"data": {"name": "imagenet", "augment": "crop"}},
        "data.augment = 'crop'",
        "should be none or resized_crop of imagenet",
    ),
    (
        {"data": {"cache": "x"}},
        "data.cache = 'x'",
        'needs data.name = "imagenet" or "image_folder"',
    ),
    ({"data": {"image_size": 8}}, "data.image_size = 8", 'needs data.name = "imagenet" or'),
    ({"rewind": {"length": "5ep"}}, "rewind.length = '5ep'", "finetune"),
    ({"rewind": {"head": "keep", "kind": "lr"}}, "rewind.head = 'keep'", 'kind = "weights"'),
]


@pytest.mark.parametrize(("change", "start", "reason"), BROKEN)
def test_a_broken_rule_is_one_line(recipe: Recipe, change: dict, start: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(recipe(**change))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(start)
    assert reason in lines[0]


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"milestones": ["50%", "9.9ep"], "warmup": "1000000it"}},
        {"prune": {"rounds": 0, "rate": 0}},
        {"prune": {"schedule": "linear", "rate": 0.1, "rounds": 9}},
        {"prune": {"schedule": "explicit", "densities": [0.5, 0.3, 0.1]}},
        {"rewind": {"to": "pretrained"}, "model": {"path": "w.safetensors"}},
        {"rewind": {"kind": "finetune", "length": "2ep"}},
        {"rewind": {"to": "9999999it"}},
    ],
)
def test_kept(recipe: Recipe, change: dict) -> None:
    assert Config.from_dict(recipe(**change))


def test_a_rule_is_checked_beside_a_fault_in_another_table(recipe: Recipe) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(recipe(run={"seed": -1}, rewind={"to": "20ep"}))
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
        "run.seed",
        "rewind.to",
    ]
