"""What is pruned by default, by patterns, under ties; what cannot be masked is named."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, net, same_bits, snapshot
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

import impcore
from impcore.errors import LayoutError
from impcore.scope import find_scope, matching, merge_tied, patterns_of


def names(model: nn.Module, include: object = None, exclude: object = None) -> list[str]:
    return list(find_scope(model, include, exclude).parameters)


def test_weights_of_linear_and_convolution_layers_and_nothing_else() -> None:
    layers = {
        "linear": nn.Linear(3, 3),
        "bilinear": nn.Bilinear(2, 2, 2),
        "conv1": nn.Conv1d(2, 2, 3),
        "conv3": nn.ConvTranspose3d(2, 2, 3),
        "norm": nn.BatchNorm1d(3),
        "layer_norm": nn.LayerNorm(3),
        "group_norm": nn.GroupNorm(1, 3),
        "embedding": nn.Embedding(4, 3),
        "bag": nn.EmbeddingBag(4, 3),
        "prelu": nn.PReLU(),
        "lstm": nn.LSTM(2, 2),
        "attention": nn.MultiheadAttention(4, 2),
    }
    model = nn.ModuleDict(layers)
    model.loose = nn.Parameter(torch.ones(3, 3))
    expected = ["linear.weight", "conv1.weight", "conv3.weight", "attention.out_proj.weight"]
    assert names(model) == expected
    assert names(nn.Linear(2, 2)) == ["weight"]


def test_subclasses_count_as_their_layer() -> None:
    class Mine(nn.Linear):
        pass

    assert names(nn.Sequential(Mine(2, 2))) == ["0.weight"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*",), None, PRUNABLE),
        (("conv*",), None, PRUNABLE[:2]),
        (("conv?.weight", "fc.*"), ("conv2*",), ["conv1.weight", "fc.weight"]),
        (None, ("fc.weight",), PRUNABLE[:2]),
        (("*[12]*",), None, PRUNABLE[:2]),
    ],
)
def test_patterns_narrow(include: object, exclude: object, expected: list[str]) -> None:
    assert names(net(), include, exclude) == expected


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (
            {"include": ("nope*",)},
            r"include pattern 'nope\*' matches no .*there are: conv1\.weight",
        ),
        ({"include": ("conv*", "fc.bias")}, r"include pattern 'fc\.bias' matches no prunable"),
        ({"exclude": ("CONV*",)}, r"exclude pattern 'CONV\*' matches no"),
        ({"exclude": ("*",)}, "include and exclude leave no prunable parameter of Net"),
        ({"include": ()}, "leave no prunable parameter"),
    ],
)
def test_patterns_that_match_nothing(arguments: dict[str, object], phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        find_scope(net(), **{"include": None, "exclude": None, **arguments})


@pytest.mark.parametrize("value", ["conv*", b"conv*", [1], [None], [["conv*"]]])
def test_patterns_must_be_lists_of_strings(value: object) -> None:
    with pytest.raises(TypeError, match="include must be a list of patterns"):
        patterns_of(value, "include")
    with pytest.raises(TypeError, match="exclude must be a list of patterns"):
        impcore.Masks(net(), exclude=value)


def test_an_iterator_of_patterns_is_read_once() -> None:
    assert patterns_of(iter(["a", "b"]), "include") == ("a", "b")
    assert impcore.Masks(net(), include=(n for n in ["fc.*"])).names == ["fc.weight"]


@pytest.mark.parametrize(
    "model",
    [nn.Sequential(nn.ReLU()), nn.BatchNorm1d(3), nn.Embedding(3, 3), nn.Sequential()],
    ids=str,
)
def test_nothing_to_prune(model: nn.Module) -> None:
    kind = type(model).__name__
    with pytest.raises(ValueError, match=f"{kind} has no Linear or convolution weights to prune"):
        impcore.prune_global(model, 0.2)


def test_frozen_parameters_are_left_out_with_a_warning() -> None:
    model = net()
    model.conv1.weight.requires_grad_(False)
    model.conv1.bias.requires_grad_(False)
    with pytest.warns(
        UserWarning, match=r"frozen parameters are left out of pruning: conv1\.weight$"
    ):
        masks = impcore.prune_global(model, 0.2)
    assert masks.names == PRUNABLE[1:]
    assert masks.frozen == ("conv1.weight",)
    assert "frozen: conv1.weight" in repr(masks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        impcore.prune_global(model, 0.2)
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(
        ValueError, match=r"every prunable parameter of Net is frozen.*conv1\.weight"
    ):
        impcore.Masks(model)
    assert impcore.masks_of(model) is masks


def test_a_warning_made_an_error_changes_nothing() -> None:
    model = net()
    model.conv1.weight.requires_grad_(False)
    before = snapshot(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="frozen"):
            impcore.prune_global(model, 0.5)
    assert impcore.masks_of(model) is None
    assert same_bits(model, before)


def test_weights_that_are_computed_are_reported() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    parametrizations.weight_norm(model[2])
    with pytest.warns(UserWarning, match="computed from other parameters are left out.*: 0, 2$"):
        assert impcore.Masks(model).names == ["1.weight"]
    lonely = nn.Linear(3, 3)
    torch_prune.identity(lonely, "weight")
    with pytest.raises(ValueError, match=r"no Linear .* the weights of Linear are computed"):
        impcore.Masks(lonely)


def test_a_decoder_tied_with_an_embedding_is_left_out() -> None:
    def model(tie: object) -> nn.Module:
        made = nn.ModuleDict({"embed": nn.Embedding(5, 4), "fc": nn.Linear(4, 4)})
        made["decoder"] = nn.Linear(4, 5, bias=False)
        made["decoder"].weight = tie(made["embed"].weight)
        return made

    assert names(model(lambda w: w)) == ["fc.weight"]
    assert names(model(lambda w: nn.Parameter(w.data))) == ["fc.weight"]
    assert names(model(lambda w: nn.Parameter(w.data.clone()))) == ["fc.weight", "decoder.weight"]


def test_tied_weights_are_found_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[2].weight = nn.Parameter(model[0].weight.data)
    scope = find_scope(model, None, None)
    assert list(scope.parameters) == ["0.weight"]
    assert scope.aliases == {"1.weight": "0.weight", "2.weight": "0.weight"}
    assert names(model, include=("1.*",)) == ["1.weight"]
    with pytest.raises(ValueError, match="leave no prunable parameter"):
        names(model, exclude=("1.*",))  # what is excluded under one name is not pruned by another


def over(
    buffer: torch.Tensor, start: int, shape: tuple[int, int], strides: tuple[int, int]
) -> nn.Linear:
    layer = nn.Linear(shape[1], shape[0])
    layer.weight = nn.Parameter(buffer.as_strided(shape, strides, start))
    return layer


@pytest.mark.parametrize(
    ("second", "overlaps"),
    [
        ((0, (4, 4), (1, 4)), True),  # the same memory, transposed
        ((8, (4, 4), (4, 1)), True),
        ((15, (2, 2), (2, 1)), True),
        ((0, (2, 8), (8, 1)), True),  # the same memory in another shape
        ((4, (2, 2), (2, 1)), True),  # within
        ((16, (4, 4), (4, 1)), False),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_overlapping_views_are_refused(second: tuple, overlaps: bool, swap: bool) -> None:
    buffer = torch.randn(40)
    layers = [over(buffer, 0, (4, 4), (4, 1)), over(buffer, *second)]
    model = nn.Sequential(*(layers[::-1] if swap else layers))
    if overlaps:
        with pytest.raises(LayoutError, match=r"[01]\.weight and [01]\.weight overlap in memory"):
            impcore.prune_global(model, 0.5)
    else:
        assert impcore.prune_global(model, 0.5).total == 32
    assert bool((buffer[:16] != 0).all()) == overlaps


@pytest.mark.parametrize(
    ("weight", "error", "phrase"),
    [
        (torch.randn(1, 4).expand(4, 4), LayoutError, r"1\.weight has strides \(0, 1\)"),
        (torch.randn(4, 8)[:, ::2], LayoutError, "dense, non-overlapping"),
        (torch.randn(4, 4).double(), TypeError, r"1\.weight has dtype torch.float64.*\.float\(\)"),
        (
            torch.randn(4, 4).bfloat16(),
            TypeError,
            r"mix dtypes: 0\.weight is .*1\.weight is .*exclude=",
        ),
        (torch.randn(4, 4).to(torch.complex64), TypeError, r"1\.weight has dtype torch\.complex64"),
        (torch.randn(4, 4).to(torch.float8_e4m3fn), TypeError, "float8"),
        (
            torch.randn(4, 4).to_sparse(),
            NotImplementedError,
            r"1\.weight has layout torch.sparse_coo",
        ),
        (torch.randn(4, 4, device="meta"), NotImplementedError, r"1\.weight is on the meta device"),
    ],
)
def test_what_cannot_be_masked_is_named(
    weight: torch.Tensor, error: type[Exception], phrase: str
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = nn.Parameter(weight)
    before = model[0].weight.detach().clone()
    with pytest.raises(error, match=phrase):
        impcore.prune_global(model, 0.5)
    assert torch.equal(model[0].weight, before)
    assert impcore.masks_of(model) is None
    assert impcore.prune_global(model, 0.5, exclude=["1.*"]).names == ["0.weight"]


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.GRU(4, 4)
        self.embedding, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.norm = nn.LayerNorm((2, 4))
        self.place = nn.Parameter(torch.zeros(2, 4))


def test_matrices_of_other_layers_are_told_of_unless_there_is_a_choice() -> None:
    model = _Attention()
    told = r"weights of other layers .*: attention\.in_proj_weight, recurrent\.weight_ih_l0, "
    with pytest.warns(UserWarning, match=rf"{told}recurrent\.weight_hh_l0$"):
        masks = impcore.Masks(model)
    assert masks.names == ["attention.out_proj.weight", "head.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        impcore.Masks(model, include=["*"])
        for own in (model.attention, model.recurrent):
            own.requires_grad_(False)
        model.attention.out_proj.requires_grad_(True)
        impcore.Masks(model)


@pytest.mark.parametrize(
    "change",
    [lambda t: t.to("meta"), torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr],
    ids=["meta", "sparse", "csr"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_parameters_without_memory_of_their_own_are_not_taken_for_tied(change) -> None:
    """Nor is a DTensor, whose data pointer is 0 too."""
    found = {name: nn.Parameter(change(torch.ones(4, 4))) for name in "ab"}
    parameters, aliases = merge_tied({**found, "c": found["a"]})
    assert (list(parameters), aliases) == (["a", "b"], {"c": "a"})


def test_a_module_within_itself_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    model[1].add_module("back", model[1])
    with pytest.raises(ValueError, match="a module lies within itself: 1; keep"):
        find_scope(model, None, None)
    del model[1].back
    masks = impcore.prune_global(model, 0.25)
    model[1].add_module("back", model)
    before = {name: mask.clone() for name, mask in masks.items()}
    with pytest.raises(ValueError, match="a module lies within itself: the model itself, 1; keep"):
        impcore.prune_global(model, 0.25)
    del model[1].back
    assert all(torch.equal(masks[name], mask) for name, mask in before.items())
    impcore.prune_global(model, 0.25)
    assert masks.remaining == 18


def test_lazy_layers_are_refused_until_they_have_weights() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LazyLinear(4))
    with pytest.raises(NotImplementedError, match=r"1\.weight is a UninitializedParameter"):
        impcore.Masks(model)
    model(torch.ones(1, 2))
    assert impcore.Masks(model).names == ["0.weight", "1.weight"]


def test_transposed_and_permuted_parameters_are_dense() -> None:
    model = nn.Linear(5, 3)
    model.weight = nn.Parameter(torch.randn(5, 3).t())
    assert impcore.prune_global(model, 0.4).remaining == 9


class _Modest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def prunable_patterns(self) -> list[str]:
        return ["body.*"]


def test_a_model_may_say_what_is_pruned_by_default_and_include_replaces_it() -> None:
    assert list(find_scope(_Modest(), None, None).parameters) == ["body.weight"]
    assert list(find_scope(_Modest(), ("head.*",), None).parameters) == ["head.weight"]
    model = _Modest()
    impcore.prune_global(model, 0.5)
    impcore.prune_global(model, 0.5)  # the head is not new: it was never in the scope
    assert impcore.masks_of(model).remaining == 3
    with pytest.raises(ValueError, match="leave no prunable parameter of _Modest"):
        find_scope(_Modest(), None, ("body.*",))


@settings(max_examples=200, deadline=None)
@given(
    name=st.text("ab.*?[]!-", max_size=4),
    patterns=st.lists(st.text("ab.*?[]!-", max_size=4), max_size=4),
)
def test_a_name_matches_as_fnmatch_says(name: str, patterns: list[str]) -> None:
    assert matching(patterns)(name) == any(fnmatchcase(name, pattern) for pattern in patterns)
