"""Read checkpoint files that others wrote: tensors and plain values, never code.

Invariant: the only unpickler is torch.load(weights_only=True), which builds tensors, containers and
numbers and refuses everything else. Zip files are mapped, so that of a large checkpoint only the
tensors asked for are read; safetensors are read tensor by tensor.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impcore.errors import CheckpointError

if TYPE_CHECKING:
    import torch

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)
_NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts put the state dict

RECIPE = (
    "it is a pickled module, which runs code when it is loaded; where you trust it, convert it "
    "beside the code that made it:\n"
    '    model = torch.load("{name}", weights_only=False, map_location="cpu")\n'
    '    torch.save(model.state_dict(), "{stem}_state.pt")'
)


def load(path: Path) -> Any:
    """What `torch.save` wrote to `path`, on the CPU.

    Raises:
        CheckpointError: missing, damaged, or holding anything but tensors and plain values.
    """
    import torch

    try:
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing") from error
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            recipe = RECIPE.format(name=path.name, stem=path.stem)
            raise CheckpointError(f"{path}: refused: {recipe}\n({_first_line(error)})") from error
        raise CheckpointError(f"{path}: not a checkpoint file: {_first_line(error)}") from error
    except Exception as error:  # damaged bytes raise a dozen unrelated types in zipfile and torch
        raise CheckpointError(f"{path}: not a checkpoint file: {_first_line(error)}") from error


def load_mapping(path: Path) -> Mapping[str, Any]:
    """The same, where it must be a dictionary with text keys."""
    content = load(path)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path}: must hold a dictionary, not {type(content).__name__}")
    return content


class Tensors(Mapping[str, "torch.Tensor"]):
    """The tensors of one checkpoint file by name, read when asked for.

    Names lose the "module." that DataParallel puts before them. A state dict may lie under
    "state_dict", "model_state_dict" or "model".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = _Safetensors(path) if path.suffix == ".safetensors" else _state_dict(path)
        self._keys = {_without_wrapper(key): key for key in self._source}
        if len(self._keys) != len(self._source):
            raise CheckpointError(f'{path}: holds a name both with and without "module."')

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._source[self._keys[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def tensors_of(path: Path, content: object) -> dict[str, torch.Tensor]:
    """The tensors of a state dict that is already in hand; names lose "module."."""
    import torch

    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: a state dict must be a dictionary, not {type(content)}")
    return {
        _without_wrapper(str(key)): value
        for key, value in content.items()
        if isinstance(value, torch.Tensor)
    }


class _Safetensors(Mapping[str, "torch.Tensor"]):
    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            opened: Any = safe_open(path, framework="pt", device="cpu")
            self._names = list(opened.keys())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
        self._file = opened

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    content = load_mapping(path)
    nested = next((key for key in _NESTED if isinstance(content.get(key), Mapping)), None)
    found = tensors_of(path, content if nested is None else content[nested])
    if not found:
        raise CheckpointError(f"{path}: holds no tensors; its keys are {list(content)[:8]}")
    return found


def _without_wrapper(name: str) -> str:
    return name.removeprefix("module.")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
