"""Random valid recipes, as the dictionaries that a TOML parser makes of them."""

from __future__ import annotations

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
PATHS = st.lists(TEXT.filter(lambda part: part != ".."), min_size=1, max_size=3).map("/".join)
PATTERNS = st.lists(TEXT, min_size=1, max_size=3)


def _some(**keys: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def trains(draw: st.DrawFn) -> dict[str, object]:
    """A [train] table whose lengths, all in one unit, fit each other."""
    unit = draw(st.sampled_from(["ep", "it"]))
    total = draw(st.integers(2, 10**6))
    inside = st.integers(1, total - 1)
    table = draw(
        _some(
            batch_size=st.integers(1, 2**20),
            accumulate=st.integers(1, 64),
            label_smoothing=st.floats(0, 0.5),
            clip_norm=st.floats(1e-6, 100),
            eval_every=inside.map(lambda step: f"{step}{unit}"),
            ema=st.floats(0.01, 0.9999),
            lr=st.floats(1e-9, 1000) | st.integers(1, 1000),
            weight_decay=st.floats(0, 0.9),
            warmup=inside.map(lambda step: f"{step}{unit}"),
            amp=st.sampled_from(["none", "bf16", "fp16"]),
            channels_last=st.booleans(),
            compile=st.booleans(),
            cuda_graph=st.sampled_from(["auto", "on", "off"]),
        )
    )
    milestones = st.lists(inside, max_size=5, unique=True).map(
        lambda steps: [f"{step}{unit}" for step in sorted(steps)]
    )
    decay = _some(lr_end=st.floats(0, 1), lr_span=st.sampled_from(["round", "all"]))
    return (
        {"length": f"{total}{unit}", **table}
        | _one_of(
            draw,
            "optimizer",
            sgd=_some(momentum=st.floats(0.01, 0.99), nesterov=st.booleans()),
            adamw=_some(
                betas=st.lists(st.floats(0, 0.999), min_size=2, max_size=2),
                eps=st.floats(1e-12, 0.1),
            ),
        )
        | _one_of(
            draw,
            "schedule",
            milestones=_some(milestones=milestones, gamma=st.floats(0.01, 1)),
            linear=decay,
            cosine=decay,
            onecycle=_some(lr_end=st.floats(0, 1)),
        )
    )


def _one_of(
    draw: st.DrawFn, key: str, **choices: st.SearchStrategy[dict[str, object]]
) -> dict[str, object]:
    """One of the choices under `key`, unless it is the first, and its options."""
    chosen = draw(st.sampled_from(list(choices)))
    named = {} if chosen == next(iter(choices)) else {key: chosen}
    return named | draw(choices[chosen])


@st.composite
def prunes(draw: st.DrawFn) -> dict[str, object]:
    """A [prune] table of any of the three schedules."""
    patterns = draw(
        _some(
            include=PATTERNS,
            exclude=PATTERNS,
            scope=st.sampled_from(["global", "layerwise", "random"]),
            min_keep=st.integers(0, 2**40),
        )
    )
    batches = st.integers(1, 10**6)
    patterns |= _one_of(
        draw,
        "score",
        magnitude=_some(),
        random=_some(),
        movement=_some(),
        synflow=_some(),
        snip=_some(score_batches=batches),
        grasp=_some(score_batches=batches, score_temperature=st.floats(0.01, 10**6)),
    )
    densities = draw(st.lists(st.floats(1e-6, 0.99), max_size=5, unique=True))
    rounds = draw(st.integers(0, 9))
    return patterns | draw(
        st.sampled_from(
            [
                {"rounds": rounds, "rate": draw(st.floats(0.001, 0.999))},
                {"rounds": rounds, "rate": draw(st.floats(0.001, 0.11)), "schedule": "linear"},
                {
                    "rounds": len(densities),
                    "densities": sorted(densities, reverse=True),
                    "schedule": "explicit",
                },
            ]
        )
    )


recipes = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"arch": st.sampled_from(["resnet14", "resnet20", "resnet56", "resnet50"])},
            optional={"path": PATHS, "bn_gamma": st.sampled_from(["ones", "uniform"])},
        ),
        "data": st.fixed_dictionaries(
            {"name": st.sampled_from(["digits", "cifar10", "cifar100"])},
            optional={
                "root": PATHS,
                "augment": st.sampled_from(["none", "crop", "flip_crop"]),
                "validation": st.integers(0, 2**31),
                "drop_last": st.booleans(),
            },
        ),
        "train": trains(),
        "prune": prunes(),
    },
    optional={
        "run": _some(
            name=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,29}", fullmatch=True),
            out=PATHS,
            seed=st.integers(0, 2**32 - 1),
            device=st.sampled_from(["auto", "cpu", "cuda"]),
            threads=st.integers(0, 1024),
        ),
        "rewind": _some(
            kind=st.sampled_from(["weights", "lr", "finetune"]),
            to=st.sampled_from(["init", "5%", "0.5%"]),
            lr_schedule=st.sampled_from(["resume", "restart"]),
        ),
        "analysis": _some(
            granularity=st.sampled_from(["stage", "block"]),
            theta=st.sampled_from(["trained", "rewound"]),
        ),
    },
)
