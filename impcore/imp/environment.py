"""What a run's bits depend on besides its state, and what to do when that has changed.

Invariant: a run is resumed only under the identity it was saved with, or when forced to; forced,
it carries a mark that it is no longer bit-exact for good.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import impcore
from impcore import ops
from impcore.config import Config
from impcore.errors import ConfigError
from impcore.imp.distributed import ALONE, World

_PACKAGE = Path(impcore.__file__).parent
_CODE = (".py", ".so", ".pyd", ".dylib")
_COMMAND = ("cli.py", "command.py", "output.py")
_NO_RESULT_DEPENDS_ON = ("rg/", *_COMMAND, "imp/tensorboard.py", "imp/eta.py", "imp/view.py")


@cache
def code_fingerprint() -> str:
    """SHA-256 (hex) of impcore's sources and compiled modules, names included.

    The analysis, the command line and the view are left out: a run's state does not depend on them.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in _PACKAGE.rglob("*") if p.suffix in _CODE):
        name = path.relative_to(_PACKAGE).as_posix()
        if not name.startswith(_NO_RESULT_DEPENDS_ON):
            digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def model_fingerprint(model: nn.Module) -> str:
    """SHA-256 (hex) of a model's structure and its current weights and buffers."""
    return fingerprint(model.state_dict(), str(model))


def fingerprint(tensors: Mapping[str, Tensor], kind: str = "") -> str:
    """SHA-256 (hex) of `kind` and the tensors: names, types, shapes and bytes, in their order."""
    digest = hashlib.sha256(kind.encode())
    for name, tensor in tensors.items():
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def identity(
    config: Config, model: nn.Module, data: str, device: torch.device, world: World = ALONE
) -> dict[str, Any]:
    """All that the bits of a run depend on, as JSON: config, model, data, code, versions, machine.

    `model` is freshly built, so that its fingerprint covers initialisation; `data` is the data
    set's fingerprint.
    """
    cuda = device.type == "cuda"
    forced = os.environ.get("IMPCORE_BACKEND", "")
    return {
        "config": config.model_dump(mode="json"),
        "model": model_fingerprint(model),
        "data": data,
        "code": f"impcore {impcore.__version__} {code_fingerprint()}",
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "cudnn": str(torch.backends.cudnn.version()) if cuda else None,  # type: ignore[no-untyped-call]
        "processes": world.size,
        "backends": ", ".join(ops.backends()) + (f" (forced: {forced})" if forced else ""),
    }


def diff(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: saved -> now` for everything in which two identities differ; [] if they agree."""
    keys = sorted({*saved, *now} - {"config"})
    return config_diff(saved, now) + [
        f"{key}: {saved.get(key)} -> {now.get(key)}"
        for key in keys
        if saved.get(key) != now.get(key)
    ]


def finished_diff(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: saved -> now` for what a finished run must agree in: config, and weights given to it.

    Nothing is computed any more, so code, versions and machine may be others.
    """
    before, after = saved.get("weights"), now.get("weights")
    weights = [f"weights: {before} -> {after}"] if before != after else []
    return config_diff(saved, now) + weights


def config_diff(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: saved -> now` for every key of the config that can change a result."""
    try:
        return Config.from_dict(saved["config"]).diff(Config.from_dict(now["config"]))
    except ConfigError as error:
        return [f"config: the saved one is not valid here: {error}"]
