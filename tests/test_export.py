"""What comes out is the model without its masks, to the bit, and the model stays as it is."""

from __future__ import annotations

import copy
import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, Net, bits, net, nets
from torch import nn

import impcore
from impcore import export
from impcore.errors import MissingExtraError, TicketError

WITHOUT_ONNX = any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript"))


@settings(max_examples=20, deadline=None)
@given(model=nets(), rate=st.floats(0, 0.99))
def test_dense_is_a_state_dict_of_its_own(model: nn.Module, rate: float) -> None:
    masks = impcore.prune_global(model, rate)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for name in PRUNABLE:  # what a careless user may write
            model.get_parameter(name)[~masks[name]] = torch.nan
    state = export.dense(nn.DataParallel(model))
    assert list(state) == list(before)
    for name, tensor in state.items():
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert torch.equal(tensor, before[name])
        if name in masks:
            assert torch.equal(bits(tensor), bits(before[name]))
        tensor.fill_(7)
    fresh = copy.deepcopy(model)
    impcore.masks_of(fresh).release()
    fresh.load_state_dict(export.dense(model))
    assert all(torch.equal(fresh.state_dict()[n], t) for n, t in before.items())


def test_dense_of_an_unpruned_or_tied_model() -> None:
    assert all(torch.equal(export.dense(net())[n], t) for n, t in net().state_dict().items())
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    impcore.prune_global(model, 0.5)
    state = export.dense(model)
    assert torch.equal(state["0.weight"], state["1.weight"])
    assert int((state["1.weight"] == 0).sum()) == 8
    assert export.csr(model)["1.weight"].values().numel() == 8


MEMORY = """
import torch, impcore
from impcore import export
from torch import nn

def status(field):
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024

model = nn.Sequential(*(nn.Conv2d(600, 600, 2, bias=False) for _ in range(8)))
model.to(memory_format=torch.channels_last)
impcore.prune_global(model, 0.5)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
state = export.dense(model)
print((status("VmHWM") - before) / sum(tensor.nbytes for tensor in state.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")
def test_dense_takes_one_copy_whatever_the_layout() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.4


@settings(max_examples=20, deadline=None)
@given(model=nets(), rate=st.floats(0, 0.99))
def test_csr_stores_exactly_the_alive_weights(model: nn.Module, rate: float) -> None:
    masks = impcore.prune_global(model, rate)
    state, plain = export.csr(model), export.dense(model)
    assert list(state) == list(plain)
    for name, tensor in state.items():
        if name not in masks:
            assert torch.equal(tensor, plain[name])
            continue
        assert tensor.layout == torch.sparse_csr
        assert tensor.values().numel() == int(masks[name].sum())
        indices = tensor.col_indices()
        assert indices.untyped_storage().nbytes() == indices.nbytes
        flat = plain[name].reshape(plain[name].shape[0], -1)
        assert torch.equal(tensor.to_dense(), flat)
        ones = torch.sparse_csr_tensor(
            tensor.crow_indices(),
            tensor.col_indices(),
            torch.ones(tensor.values().numel()),
            size=flat.shape,
            check_invariants=True,
        )
        assert torch.equal(ones.to_dense().bool(), masks[name].reshape(flat.shape))


def test_csr_multiplies_and_survives_a_file() -> None:
    layer = nn.Linear(20, 30)
    impcore.prune_global(layer, 0.9)
    file = io.BytesIO()
    torch.save(export.csr(layer), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    x = torch.randn(4, 20)
    product = (state["weight"] @ x.t()).t() + state["bias"]
    torch.testing.assert_close(product, layer(x))


def test_csr_needs_masks() -> None:
    with pytest.raises(ValueError, match=r"Net has no masks; prune it, or use export\.dense"):
        export.csr(net())


@pytest.mark.skipif(WITHOUT_ONNX, reason="needs onnx and onnxscript")
@pytest.mark.filterwarnings("ignore")
def test_onnx_computes_the_same_from_zeros(tmp_path: Path) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = net(width=8)
    masks = impcore.prune_global(model, 0.8)
    model.train()
    path = tmp_path / "model.onnx"
    x = torch.randn(2, 3, 5, 5)
    export.onnx(torch.compile(model, backend="eager"), path, (x,), input_names=["x"])
    assert all(module.training for module in model.modules())
    assert impcore.masks_of(model) is masks
    (output,) = ReferenceEvaluator(str(path)).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), model.eval()(x).detach())
    zeros = [
        int((onnx.numpy_helper.to_array(tensor) == 0).sum())
        for tensor in onnx.load(path).graph.initializer
        if len(tensor.dims) > 1
    ]
    assert sum(zeros) == masks.total - masks.remaining


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_onnx_without_its_exporter_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find(name, *rest) or object(),
    )
    with pytest.raises(MissingExtraError, match=rf"package {missing}: pip install impcore\[onnx\]"):
        export.onnx(Net(), tmp_path / "model.onnx", (torch.zeros(1, 3, 5, 5),))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def sharded() -> Iterator[nn.Module]:
    """A masked model that is sharded over one process."""
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("needs gloo")
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    impcore.prune_global(model, 0.5)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield fully_shard(model, mesh=distributed.init_device_mesh("cpu", (1,)))
    finally:
        distributed.destroy_process_group()


def test_a_sharded_model_is_refused_by_name(sharded: nn.Module, tmp_path: Path) -> None:
    phrase = r"^0\.weight is a DTensor, .*full_state_dict=True"
    for form in (export.dense, export.csr):
        with pytest.raises(NotImplementedError, match=phrase):
            form(sharded)
    if not WITHOUT_ONNX:
        with pytest.raises(NotImplementedError, match=phrase):
            export.onnx(sharded, tmp_path / "model.onnx", (torch.zeros(1, 4),))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (torch.Tensor.to_sparse, "of layout torch.sparse_coo"),
        (torch.Tensor.to_sparse_csr, "of layout torch.sparse_csr"),
        (lambda t: t.to("meta"), "on the meta device"),
    ],
)
def test_a_tensor_without_dense_data_is_refused_by_name(
    change: Callable[[torch.Tensor], torch.Tensor], phrase: str
) -> None:
    model = net()
    model.register_buffer("scale", change(torch.eye(2)))
    for _ in range(2):
        with pytest.raises(NotImplementedError, match=f"^scale is {phrase}; only dense tensors"):
            export.dense(model)
        impcore.Masks(model)


class Counting(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


def test_what_is_no_tensor_is_left_out_and_refused_by_a_ticket() -> None:
    model = nn.Sequential(Counting(4, 4))
    masks = impcore.prune_global(model, 0.5)
    assert list(export.dense(model)) == list(export.csr(model)) == ["0.weight", "0.bias"]
    with pytest.raises(TicketError, match=r"0\._extra_state: a ticket holds tensors, not a dict"):
        impcore.Ticket(masks.state_dict(), model.state_dict(), {})
    with pytest.raises(TicketError, match=r"0\._extra_state: the ticket lacks it"):
        impcore.Ticket(masks.state_dict(), export.dense(model), {}).apply(model)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_csr_of_a_weight_without_rows() -> None:
    model = nn.Sequential(nn.Linear(5, 0), nn.Linear(7, 3))
    impcore.prune_global(model, 0.5)
    assert export.csr(model)["0.weight"].shape == (0, 5)
