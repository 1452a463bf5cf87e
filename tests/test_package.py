"""The public surface: lazy, typed, complete."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import pytest

import impcore

HEAVY = ("torch", "numpy", "scipy", "matplotlib", "pydantic", "tyro", "rich", "safetensors")


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_importing_costs_nothing() -> None:
    assert loaded_by("import impcore; impcore.__version__; impcore.errors; dir(impcore)") == set()


def test_the_analysis_never_imports_torch() -> None:
    loaded = loaded_by("from impcore import rg; rg.eigen")
    assert "numpy" in loaded
    assert not loaded & {"torch", "matplotlib"}


def test_the_library_does_not_import_the_compiler_or_the_experiment() -> None:
    statement = (
        "import impcore, torch; impcore.prune_global(torch.nn.Linear(3, 3), 0.5); "
        "impcore.Flow; bad = {'torch._dynamo', 'impcore.imp', 'impcore.config', 'impcore.rg'}; "
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    assert not loaded_by(statement) & {"matplotlib", "pydantic", "tyro", "rich", "scipy"}


def test_every_public_name_is_there_and_documented() -> None:
    assert impcore.__all__ == sorted(impcore.__all__, key=lambda n: (not n[0].isupper(), n))
    assert len(set(impcore.__all__)) == len(impcore.__all__)
    for name in impcore.__all__:
        assert getattr(impcore, name).__doc__, name
        assert name in dir(impcore)
    expected = {
        "Flow",
        "MaskedSGD",
        "Masks",
        "errors",
        "masks_of",
        "models",
        "ops",
        "prune_global",
        "rg",
        "scores",
    }
    assert expected <= set(impcore.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'impcore' has no attribute 'prune_globally'"):
        impcore.prune_globally  # noqa: B018
    assert not hasattr(impcore, "torch")


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("impcore").joinpath("py.typed").is_file()


def test_errors_are_impcore_errors_and_the_builtin_that_they_refine() -> None:
    from impcore import errors

    builtin = {
        "NonFiniteError": ValueError,
        "LayoutError": ValueError,
        "ModelChangedError": RuntimeError,
    }
    for name in vars(errors):
        if name.endswith("Error"):
            assert issubclass(getattr(errors, name), errors.ImpcoreError)
    for name, base in builtin.items():
        assert issubclass(getattr(errors, name), base)
