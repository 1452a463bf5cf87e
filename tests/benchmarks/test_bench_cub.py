"""CUB's DeviceTopK: compiled where the compiler and new enough headers are, measured on a GPU."""

import cub
import pytest
import torch


@pytest.fixture
def needed():
    if (why := cub.available()) is not None:
        pytest.skip(why)


def test_it_compiles(needed, tmp_path):
    assert cub.build(tmp_path, "sm_90").stat().st_size > 0


def test_without_headers_or_compiler_the_reason_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(cub, "PACKAGE", "no-such-package")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert cub.available() == "there is no nvcc"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").write_text("")
    (tmp_path / "bin" / "nvcc").chmod(0o755)
    assert "device_topk.cuh (CCCL 3.2 or newer: pip install" in cub.available()
    (tmp_path / "include" / "cccl" / "cub" / "device").mkdir(parents=True)
    (tmp_path / "include" / "cccl" / cub.HEADER).write_text("")
    assert cub.available() is None
    assert cub.headers() == tmp_path / "include" / "cccl"


def test_what_does_not_compile_is_told(needed, monkeypatch, tmp_path):
    broken = tmp_path / "cub.cu"
    broken.write_text("int f() { return no_such_name; }\n")
    monkeypatch.setattr(cub, "SOURCE", broken)
    with pytest.raises(RuntimeError, match=r"does not compile: .*no_such_name"):
        cub.build(tmp_path, "sm_90")


def test_other_keys_are_refused():
    for keys in (torch.ones(4), torch.ones(4, dtype=torch.float64)):
        with pytest.raises(TypeError, match="not flat float32 on CUDA"):
            cub.DeviceTopK(keys, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 1000, 3_000_001])
def test_it_finds_the_smallest(needed, count):
    keys = torch.rand(count, device="cuda")
    k = max(1, count // 5)
    search = cub.DeviceTopK(keys, k)
    search.found.fill_(-1)
    for _ in range(2):
        found = search.run()
    assert torch.equal(found.sort().values, keys.sort().values[:k])
