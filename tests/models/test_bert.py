from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase

import pytest
import torch

from impcore import Masks, models
from impcore.scope import candidates, narrow

pytest.importorskip("transformers")

TASKS = {"classification": 3, "regression": 1, "extractive_qa": 1, "mlm": 1}
SIZES = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 24, "positions": 12}


def tiny(task, seed=0, **changes):
    torch.manual_seed(seed)
    options = {"task": task, "num_classes": TASKS[task], "vocab_size": 40} | SIZES | changes
    return models.build_text("bert", **options)


def batch(task, rows=3, length=7):
    ids = torch.randint(1, 40, (rows, length), generator=torch.Generator().manual_seed(1))
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }
    return inputs | ({"positions": torch.tensor([2, 9])} if task == "mlm" else {})


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("classification", (3, 3)),
        ("regression", (3,)),
        ("extractive_qa", (3, 7, 2)),
        ("mlm", (2, 40)),
    ],
)
def test_each_head_has_its_output_and_the_same_prunable_weights(task, shape):
    model = tiny(task)
    assert model.training
    assert model(**batch(task)).shape == shape
    masks = Masks(model)
    assert masks.total == 2 * (4 * 16 * 16 + 2 * 16 * 24) + 16 * 16
    assert masks.names == Masks(tiny("regression")).names


def test_bert_base_has_the_published_prunable_set():
    sizes = {"hidden_size": 768, "layers": 12, "heads": 12, "intermediate_size": 3072}
    for task, classes in TASKS.items():
        with torch.device("meta"):
            model = models.build_text(
                "bert", task=task, num_classes=classes, vocab_size=30522, **sizes
            )
        found = narrow(candidates(model), tuple(model.prunable_patterns()), None)
        counts = {
            block: sum(p.numel() for name, p in found.items() if fnmatchcase(name, patterns[0]))
            for block, patterns in models.blocks_of(model).items()
        }
        assert counts == {f"layer.{i}": 7_077_888 for i in range(12)}
        assert found["bert.pooler.dense.weight"].numel() == 589_824
        assert sum(p.numel() for p in found.values()) == 85_524_480
        assert not any("embeddings" in name or name.startswith("cls") for name in found)


def test_masked_places_are_decoded_as_transformers_does():
    from transformers import BertForMaskedLM

    model = tiny("mlm").eval()
    theirs = BertForMaskedLM(model.config).eval()
    theirs.load_state_dict(model.state_dict(), strict=False)
    inputs = batch("mlm")
    at = inputs.pop("positions")
    with torch.no_grad():
        logits = theirs(**inputs).logits.flatten(0, 1)[at]
        assert torch.allclose(model(**inputs, positions=at), logits, atol=1e-6)
    decoder = model.cls.predictions.decoder.weight
    assert decoder is model.bert.embeddings.word_embeddings.weight


@pytest.mark.parametrize("task", TASKS)
def test_the_head_and_the_rest_partition_the_state(task):
    model = tiny(task)
    patterns = models.head_of(model)
    head = {n for n in model.state_dict() if any(fnmatchcase(n, p) for p in patterns)}
    rest = set(model.state_dict()) - head
    assert head
    assert all(name.startswith("bert.") for name in rest - {"cls.predictions.decoder.weight"})


def test_the_global_generator_alone_decides_the_weights():
    first, same, other = (tiny("classification", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("task", TASKS)
def test_pretrained_weights_get_a_head_of_the_seed(tmp_path, task):
    source = tiny("mlm", seed=5)
    source.save_pretrained(tmp_path / "saved")
    options = {"task": task, "num_classes": TASKS[task], "vocab_size": 40}

    def load(seed):
        torch.manual_seed(seed)
        return models.build_text("bert", path=str(tmp_path / "saved"), **options)

    one, same, other = load(1), load(1), load(2)
    assert one.training
    for name, weight in source.bert.state_dict().items():
        assert torch.equal(one.bert.state_dict()[name], weight), name
        assert torch.equal(other.bert.state_dict()[name], weight), name
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name
    if task in ("classification", "extractive_qa"):
        weight = f"{one.HEAD}.weight"
        assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])


def test_weights_that_are_no_bert_encoder_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny("classification").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors.*layer\.1\.output\.dense\.weight"):
        models.build_text("bert", task="mlm", num_classes=1, vocab_size=40, path=str(tmp_path))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tmp_path):
    tiny("classification").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="embeds 40 tokens, the tokenizer has 41"):
        models.build_text("bert", task="mlm", num_classes=1, vocab_size=41, path=str(tmp_path))


def test_a_missing_directory_is_named_without_asking_the_hub():
    with pytest.raises(OSError, match=r"'\./no-such-bert' is not a directory"):
        models.build_text("bert", task="mlm", num_classes=1, vocab_size=9, path="./no-such-bert")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "translation"}, "task: 'translation'"),
        ({"task": "mlm"}, "path: none given, so all of hidden_size"),
        ({"task": "mlm", "layers": 2}, "path: none given"),
        ({"task": "mlm", "layers": 2, "path": "x"}, "'x' has its own sizes; num_hidden_layers"),
    ],
)
def test_bad_arguments_are_quoted(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_text("bert", num_classes=1, vocab_size=9, **options)


def test_unknown_names_are_quoted():
    with pytest.raises(ValueError, match="arch: no text architecture 'gpt'; valid: bert"):
        models.build_text("gpt", task="mlm", num_classes=1, vocab_size=9)
    with pytest.raises(ValueError, match="granularity: 'layer'"):
        models.blocks_of(tiny("mlm"), "layer")
    assert models.blocks_of(tiny("mlm"), "block") == models.blocks_of(tiny("mlm"))


def test_without_transformers_the_extra_is_named():
    code = (
        "import sys; sys.modules['transformers'] = None; from impcore import errors, models\n"
        "try: models.build_text('bert', task='mlm', num_classes=1, vocab_size=9)\n"
        "except errors.MissingExtraError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'impcore[hf]'" in out.stdout
