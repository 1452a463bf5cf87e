from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

from impcore import Masks, models
from impcore.errors import CheckpointError
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


def test_initial_weights_are_as_wide_as_asked():
    for width in (0.02, 0.3):
        model = tiny("classification", hidden_size=64, initializer_range=width)
        weights = torch.cat([m.weight.flatten() for m in model.modules() if type(m) is nn.Linear])
        assert abs(weights.std().item() / width - 1) < 0.05


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


@pytest.mark.parametrize("task", TASKS)
def test_a_forward_pass_reads_nothing_back_to_the_host(task):
    with torch.device("meta"):
        model = tiny(task)
    inputs = {name: tensor.to("meta") for name, tensor in batch(task).items()}
    assert model(**inputs).device.type == "meta"  # where every such read raises


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [0, 3])
def test_masked_places_are_decoded_as_transformers_does(padded, attention):
    from transformers import BertForMaskedLM

    model = tiny("mlm").eval()
    model.set_attn_implementation(attention)
    theirs = BertForMaskedLM(model.config).eval()
    assert theirs.config._attn_implementation == attention
    theirs.load_state_dict(model.state_dict(), strict=False)
    inputs = batch("mlm")
    inputs["attention_mask"][1, 7 - padded :] = 0
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


def load(task, path, seed=0, vocab_size=40):
    torch.manual_seed(seed)
    options = {"task": task, "num_classes": TASKS[task], "vocab_size": vocab_size}
    return models.load_text("bert", path, **options)


@pytest.mark.parametrize("task", TASKS)
def test_pretrained_weights_get_a_head_of_the_seed(tmp_path, task):
    source = tiny("mlm", seed=5)
    source.save_pretrained(tmp_path)
    (one, told), (same, _), (other, _) = (load(task, tmp_path, seed) for seed in (1, 1, 2))
    assert one.training
    for name, weight in source.bert.state_dict().items():
        assert torch.equal(one.bert.state_dict()[name], weight), name
        assert torch.equal(other.bert.state_dict()[name], weight), name
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name
    if task == "mlm":
        assert told.left == ()
        assert torch.equal(
            one.cls.predictions.transform.dense.weight,
            source.cls.predictions.transform.dense.weight,
        )
    else:
        assert told.left == (f"{one.HEAD}.weight", f"{one.HEAD}.bias")
        drawn = [model.state_dict()[told.left[0]] for model in (one, other)]
        assert not torch.equal(*drawn)


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"])
def test_what_transformers_saved(tmp_path, kind):
    import transformers

    config = tiny("mlm").config
    torch.manual_seed(9)
    theirs = getattr(transformers, kind)(config)
    theirs.save_pretrained(tmp_path)
    model, told = load("classification", tmp_path)
    body = theirs if kind == "BertModel" else theirs.bert
    for name, weight in body.state_dict().items():
        assert torch.equal(model.bert.state_dict()[name], weight), name
    lacks_pooler = kind == "BertForMaskedLM"
    assert ("bert.pooler.dense.weight" in told.left) == lacks_pooler


def test_the_oldest_names_of_layer_norm(tmp_path):
    source = tiny("mlm")
    source.config.save_pretrained(tmp_path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for name, weight in source.bert.state_dict().items():
        for new, before in old.items():
            name = name.replace(new, before)
        state[name] = weight + 1
    torch.save(state, tmp_path / "pytorch_model.bin")
    model, _ = load("mlm", tmp_path)
    weight = source.bert.embeddings.LayerNorm.weight
    assert torch.equal(model.bert.embeddings.LayerNorm.weight, weight + 1)
    assert torch.equal(
        model.cls.predictions.decoder.weight, model.bert.embeddings.word_embeddings.weight
    )


def masked_state(path, **changes):
    """Save the config of a BertForMaskedLM with `changes`, and return its state."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(**tiny("mlm").config.to_dict() | changes)
    config.save_pretrained(path)
    torch.manual_seed(9)
    model = BertForMaskedLM(config)
    torch.nn.init.normal_(model.cls.predictions.decoder.bias)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


DECODER, BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"


def test_a_decoder_of_its_own_is_kept_and_belongs_to_the_head(tmp_path):
    state = masked_state(tmp_path, tie_word_embeddings=False)
    assert not torch.equal(state[DECODER], state["bert.embeddings.word_embeddings.weight"])
    torch.save(state, tmp_path / "pytorch_model.bin")
    model, told = load("mlm", tmp_path)
    assert told.left == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    for name, tensor in state.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert any(fnmatchcase(DECODER, pattern) for pattern in models.head_of(model))
    assert not any(fnmatchcase(DECODER, pattern) for pattern in models.head_of(tiny("mlm")))


@pytest.mark.parametrize("name", [DECODER, BIAS])
def test_two_values_of_what_is_one_tensor_are_refused(tmp_path, name):
    state = masked_state(tmp_path)
    torch.save(state | {name: state[name] + 1}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f'{name} is not .*"tie_word_embeddings": false'):
        load("mlm", tmp_path)
    load("classification", tmp_path)


def test_a_tied_tensor_is_found_under_either_name(tmp_path):
    state = masked_state(tmp_path)
    del state["cls.predictions.bias"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    model, told = load("mlm", tmp_path)
    assert told.left == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    assert torch.equal(model.cls.predictions.decoder.bias, state[BIAS])


def test_a_file_of_the_encoder_is_taken_over_by_another_head(tmp_path):
    from safetensors.torch import save_file

    from impcore.models.weights import take

    source = tiny("mlm", seed=5)
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    model = tiny("extractive_qa")
    told = take(model, tmp_path / "weights.safetensors")
    assert told.left == ("qa_outputs.weight", "qa_outputs.bias")
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(model.state_dict()[name], state[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("bert.encoder.layer.1.output.dense.weight"),
            r"lacks bert\.encoder\.layer\.1",
        ),
        (lambda w: w.update(other=torch.zeros(1)), "holds other, which this network lacks"),
    ],
)
def test_weights_that_are_no_bert_encoder_are_refused(tmp_path, change, message):
    from safetensors.torch import load_file, save_file

    tiny("classification").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        load("mlm", tmp_path)


def test_what_is_at_the_path_must_be_a_bert_of_the_tokenizer(tmp_path):
    tiny("classification").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="embeds 40 tokens; should be the 41"):
        load("mlm", tmp_path, vocab_size=41)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has neither model"):
        load("mlm", tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"bert"', '"roberta"'))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a 'roberta' model; should be 'bert'"):
        load("mlm", tmp_path)


def test_a_missing_directory_is_named_without_asking_the_hub():
    with pytest.raises(CheckpointError, match=r"\./no-such-bert: is not a directory"):
        load("mlm", "./no-such-bert")


def test_unknown_names_are_quoted():
    with pytest.raises(ValueError, match="arch: no text architecture 'gpt'; valid: bert"):
        models.load_text("gpt", ".", task="mlm", num_classes=1, vocab_size=9)
    with pytest.raises(ValueError, match="task: 'translation' is not one of"):
        models.load_text("bert", ".", task="translation", num_classes=1, vocab_size=9)
    with pytest.raises(ValueError, match="granularity: 'layer'"):
        models.blocks_of(tiny("mlm"), "layer")
    assert models.blocks_of(tiny("mlm"), "block") == models.blocks_of(tiny("mlm"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", 0),
        ("num_classes", 2.0),
        ("vocab_size", 0),
        ("layers", 0),
        ("heads", 3),
        ("positions", 0),
        ("pad_token", 40),
        ("pad_token", -1),
        ("dropout", 1),
        ("initializer_range", 0),
        ("initializer_range", float("inf")),
    ],
)
def test_bad_arguments_are_named_and_quoted(field, value):
    with pytest.raises(ValueError, match=f"^{field}: {value}"):
        tiny("classification", **{field: value})


def test_an_integer_is_a_number_and_only_a_classification_has_classes():
    assert tiny("mlm", initializer_range=1, dropout=0).config.initializer_range == 1
    for task in ("regression", "extractive_qa", "mlm"):
        with pytest.raises(ValueError, match=f"num_classes: 2, but task '{task}' has 1"):
            tiny(task, num_classes=2)
    with pytest.raises(ValueError, match="num_classes: 0 is not"):
        models.load_text("bert", ".", task="classification", num_classes=0, vocab_size=9)


def test_without_transformers_the_extra_is_named():
    code = (
        "import sys; sys.modules['transformers'] = None; from impcore import errors, models\n"
        "try: models.load_text('bert', '.', task='mlm', num_classes=1, vocab_size=9)\n"
        "except errors.MissingExtraError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'impcore[hf]'" in out.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": "x"}, "vocab_size"),
        ({"num_attention_heads": 3}, "no BERT can be made by its config.json: ValueError"),
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"hidden_act": "nosuch"}, "KeyError: 'nosuch'"),
        ({"pad_token_id": 5000}, "AssertionError: Padding_idx"),
        ({"model_type": "nosuch"}, "nosuch"),
        ({"type_vocab_size": 1}, "type_vocab_size is 1 in its config.json; should be 2 or more"),
        ({"is_decoder": True}, "is_decoder is True in its config.json"),
        ({"add_cross_attention": True}, "add_cross_attention is True in its config"),
    ],
)
def test_a_malformed_config_is_named(tmp_path, change, message):
    tiny("mlm").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message) as error:
        models.load_text("bert", str(tmp_path), task="mlm", num_classes=1, vocab_size=40)
    assert str(tmp_path) in str(error.value)


def test_code_beside_weights_is_not_run_and_nobody_is_asked(tmp_path, monkeypatch):
    questions = []
    monkeypatch.setattr("builtins.input", lambda *_: questions.append(1) or "y")
    tiny("mlm").save_pretrained(tmp_path)
    (tmp_path / "foreign.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    foreign = {"model_type": "foreign", "auto_map": {"AutoConfig": "foreign.C"}}
    (tmp_path / "config.json").write_text(json.dumps(foreign))
    with pytest.raises(CheckpointError, match="custom code"):
        models.load_text("bert", str(tmp_path), task="mlm", num_classes=1, vocab_size=40)
    assert not questions
    assert not (tmp_path / "ran").exists()
