"""Every kernel compiles ahead of time for each kind of GPU, which needs none."""

import importlib
import os
import pkgutil

import pytest
import torch

import impcore.ops.triton as package

triton = pytest.importorskip("triton")

if os.environ.get("TRITON_INTERPRET"):
    pytest.skip("the interpreter has no compiler", allow_module_level=True)

import triton.language as tl  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource, make_backend  # noqa: E402
from triton.runtime.jit import create_function_from_signature  # noqa: E402

TARGETS = {
    "sm_80": (GPUTarget("cuda", 80, 32), "cubin"),
    "sm_90": (GPUTarget("cuda", 90, 32), "cubin"),
    "sm_100": (GPUTarget("cuda", 100, 32), "cubin"),
    "gfx942": (GPUTarget("hip", "gfx942", 64), "hsaco"),
}

TENSORS = {
    **{"*i64": torch.int64, "*i32": torch.int32, "*i16": torch.int16, "*u8": torch.uint8},
    **{"*fp64": torch.float64, "*fp32": torch.float32},
}
# What the arguments of all kernels are, by name: in one package a name means one thing.
POINTERS = {
    "i64": "chunks pointers control k_scalar firsts counts status out sources table layout ones "
    "steps grads order starts",
    "i32": "mask mask_in mask_out new_mask words samples pool_keys",
    "i16": "pool_offsets",
    "u8": "bools first",
    "fp64": "sums values before after afters constants",
    "fp32": "lr beta1 beta2 weight_decay grad_scale found_inf",
}
NUMBERS = {"momentum": "fp64", "dampening": "fp64", "eps": "fp64", "num_words": "i64"}
HELPERS = {"power", "packed", "alive_in", "kept_in", "found_in"}
DTYPES = {
    "fp32": {"INTEGER": tl.int32, "FLOAT": tl.float32, "KEY_BITS": 31, "KIND": tl.float32},
    "bf16": {"INTEGER": tl.int16, "FLOAT": tl.bfloat16, "KEY_BITS": 16, "KIND": tl.bfloat16},
    "fp16": {"INTEGER": tl.int16, "FLOAT": tl.float16, "KEY_BITS": 16, "KIND": tl.float16},
    "fp64": {"KIND": tl.float64, "WORK": tl.float64},
}
STEPS = {"masked_sgd.step", "masked_adamw.step"}
CONSTANTS = {
    **dict.fromkeys(
        [
            "SOURCE",
            "COMMIT",
            "MASKED",
            "MOMENTUM",
            "NESTEROV",
            "MAXIMIZE",
            "FIRST",
            "SCALED",
            "CHECKED",
            "AMSGRAD",
        ],
        True,
    ),
    **{
        "PARTS": 16,
        "TILE": 4096,
        "WIDE": False,
        "BYTES": 16,
        "ITEMS": 1024,
        "DIMS": 4,
        "GROUPS": 128,
        "STRIDE": 512,
    },
    **{"ROWS": 4, "LEVEL": 1, "LEVELS": 4, "WORK": tl.float32},
}


def kernels():
    """The kernels that are launched: the public jitted functions whose arguments are known."""
    helpers = {"words", "tiles", "masked_step", "topk_state"}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name in helpers:
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for name, value in vars(module).items():
            own = isinstance(value, triton.JITFunction) and value.fn.__module__ == module.__name__
            if own and not name.startswith("_") and name not in HELPERS:
                yield f"{info.name}.{name}", value


KERNELS = dict(kernels())


def argument(kernel, name):
    for kind, names in POINTERS.items():
        if name in names.split():
            if kernel == "bits.permute_kernel" and name == "out":
                return "*i32"
            return f"*{kind}"
    return NUMBERS.get(name, "i32")


def source(kernel, dtype, **others):
    function = KERNELS[kernel]
    values = {**CONSTANTS, **DTYPES[dtype], **others}
    if kernel in STEPS:
        values["TILE"] = 2048
    values["BLOCK"] = 1024 if kernel == "topk_finish.ties" else 4096
    signature, constants, attrs = {}, {}, {}
    for i, param in enumerate(function.params):
        if param.name in values:
            signature[param.name] = "constexpr"
            constants[(i,)] = values[param.name]
        else:
            signature[param.name] = argument(kernel, param.name)
            if signature[param.name].startswith("*"):
                attrs[(i,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=function, signature=signature, constexprs=constants, attrs=attrs)


def options(kernel):
    """As the kernel is launched."""
    wide = {"topk_finish.narrow", "topk_sample.take", "topk_sample.refine"}
    return {
        **({"enable_fp_fusion": False} if kernel.startswith("masked") else {}),
        **({"num_warps": 8} if kernel in wide else {}),
    }


def cases():
    for kernel, function in KERNELS.items():
        names = {p.name for p in function.params}
        dtypes = ["fp32"]
        if names & {"INTEGER", "FLOAT", "KIND", "KEY_BITS"}:
            dtypes += ["bf16", "fp16"]
        if kernel in STEPS:
            dtypes.append("fp64")
        for dtype in dtypes:
            for target in TARGETS:
                # On the other targets the dtypes differ in nothing that fp32 does not show.
                first = target != "sm_100" if dtype == "fp32" else target == "sm_90"
                marks = () if first else pytest.mark.soak
                name = f"{kernel}-{dtype}-{target}"
                yield pytest.param(kernel, dtype, target, id=name, marks=marks)


@pytest.mark.parametrize("kernel", KERNELS)
def test_can_be_launched(kernel):
    """A launch goes through source that Triton writes: its names are no good for arguments."""
    function = KERNELS[kernel]
    backend = make_backend(TARGETS["sm_90"][0])
    bind = create_function_from_signature(function.signature, function.params, backend)
    kinds = {p.name: "" if p.is_constexpr else argument(kernel, p.name) for p in function.params}
    bind(*(torch.empty(4, dtype=TENSORS[kind]) if "*" in kind else 7 for kind in kinds.values()))


def test_all_launched_kernels_are_found():
    assert len(KERNELS) == 18


@pytest.mark.parametrize(("kernel", "dtype", "target"), list(cases()))
def test_compiles(kernel, dtype, target):
    gpu, kind = TARGETS[target]
    compiled = triton.compile(source(kernel, dtype), target=gpu, options=options(kernel))
    assert len(compiled.asm[kind]) > 0
