"""What the compiler makes of the kernels that take the time: packs of 16 bytes, nothing spilled,
nothing fused."""

import re
import subprocess

import pytest

from .test_compile import TARGETS, options, source, triton

DTYPES = ("fp32", "bf16", "fp16")
LOADS = ["block_l1.sum_tiles", "topk_scan.scan", "topk_finish.narrow", "topk_finish.fix"]
STORES = ["rewind.select_tiles", "masked_sgd.step", "masked_adamw.step"]
STEPS = ["masked_sgd.step", "masked_adamw.step", "masked_adamw.advance"]


def compiled(kernel, dtype, target, **constants):
    made = triton.compile(
        source(kernel, dtype, **constants), target=TARGETS[target][0], options=options(kernel)
    )
    return made.asm


def cases(kernels):
    return [
        pytest.param(k, d, id=f"{k}-{d}", marks=() if d == "fp32" else pytest.mark.soak)
        for k in kernels
        for d in DTYPES
    ]


@pytest.mark.parametrize(("kernel", "dtype"), cases(LOADS + STORES))
def test_weights_move_in_packs_of_16_bytes(kernel, dtype):
    """Beside element by element, for the tile that is short or misaligned."""
    ptx = compiled(kernel, dtype, "sm_90")["ptx"]
    single = "b32" if dtype == "fp32" else "b16"
    for move in ["ld", "st"] if kernel in STORES else ["ld"]:
        assert f"{move}.global.v4.b32" in ptx
        assert f"{move}.global.{single}" in ptx


@pytest.mark.parametrize(("kernel", "dtype"), cases(LOADS + STORES))
def test_nothing_is_spilled(kernel, dtype, tmp_path):
    asm = compiled(kernel, dtype, "sm_90")
    assert not re.search(r"\.local\b", asm["ptx"])
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(asm["cubin"])
    tool = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(cubin)]
    usage = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.search(rf"{x}:(\d+)", usage)[1]) for x in ("REG", "STACK"))
    assert registers <= 168  # three programs a multiprocessor
    assert stack == 0
    amd = compiled(kernel, dtype, "gfx942")["amdgcn"]
    assert re.findall(r"; ScratchSize: (\d+)", amd) == ["0"]


@pytest.mark.parametrize("kernel", STEPS)
def test_steps_fuse_nothing_and_keep_subnormals(kernel):
    """Without GradScaler's division, whose expansion on AMD is fused, and exact."""
    ptx = compiled(kernel, "fp32", "sm_90")["ptx"]
    assert "mul.f" in ptx or "mul.rn.f" in ptx
    assert not re.search(r"\b(fma|mad)\.\S*f(32|64)\b|\.ftz\b|\.approx\b|\.full\b", ptx)
    if kernel == "masked_sgd.step":
        amd = compiled(kernel, "fp32", "gfx942", SCALED=False)["amdgcn"]
        assert not re.search(r"v_(pk_)?(fma|fmac|mac|mad)_f(32|64)", amd)
        assert re.search(r"float_denorm_mode_32 3", amd)


def test_a_sweep_has_one_ticket_a_stage_and_no_other_fence():
    """Fences would make every tile of the scan wait for its own writes."""
    asm = {k: compiled(k, "fp32", "sm_90")["ptx"] for k in ("topk_scan.scan", "topk_finish.narrow")}
    assert "acq_rel" not in asm["topk_scan.scan"]
    assert asm["topk_finish.narrow"].count("acq_rel") == 1
