# make demo    a pruning run on real images and its report, from a bare clone
# make test    lint and the suite, WORKERS=2 files at a time;  make soak: the long versions
# make bench   the benchmarks
# make gpu     build, test and measure on a GPU: the log and the results go to OUT (gpu-results)
# make test-gpu, make bench-gpu    a part of it; GPU_PYTHON=python3 takes what is installed there
# make gpu-wheels    fetches what such a machine may lack, if it has no network, into .wheels
PYTHON ?= python3
VENV   ?= .venv

# CUDA kernels and a CUDA build of PyTorch only where there is a driver to run them.
DRIVER := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo yes)
TORCH  := $(if $(DRIVER),torch,torch==2.13.0)
ifndef DRIVER
export IMPCORE_CUDA ?= 0
endif

BIN     := $(VENV)/bin
GPU_PYTHON ?= $(BIN)/python
GPU_PYTHON_VERSION ?= 3.12
# What the runs on a GPU import besides torch and the test tools; CUB's headers for bench-gpu.
GPU_WHEELS := 'pydantic>=2.7' 'tyro>=0.9' 'tomli-w>=1.0' 'pytest-xdist>=3.5' 'nvidia-cuda-cccl>=13.2'
OUT ?= gpu-results
# Test files that run at a time.
WORKERS ?= 2
NATIVE  := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh')
CXXCODE := $(NATIVE) $(shell find tests benchmarks -name '*.cpp' -o -name '*.h' -o -name '*.cu')

.PHONY: demo test lint suite soak bench gpu test-gpu bench-gpu gpu-wheels install dev clean

demo: install
	$(BIN)/impcore-run digits.toml

test: lint suite

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXXCODE)
	$(BIN)/mypy

suite: dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

soak: dev
	$(BIN)/python -m pytest -q -m soak --timeout 7200

# With GPU_PYTHON on the command line nothing is installed: for machines without a network. Each of
# test-gpu and bench-gpu ends in less than nine minutes where the kernels are built in one.
GPU := $(GPU_PYTHON) tools/gpu --out "$(OUT)"
GPU_NEEDS := $(if $(filter command,$(origin GPU_PYTHON)),,dev)

gpu: $(GPU_NEEDS)
	$(GPU)

test-gpu: $(GPU_NEEDS)
	$(GPU) --limit 460 build test

bench-gpu: $(GPU_NEEDS)
	$(GPU) --limit 460 build bench

# For the Python of the machine with the GPU, which need not be this one.
gpu-wheels:
	rm -rf .wheels
	$(PYTHON) -m pip download --quiet --dest .wheels --only-binary=:all: --implementation cp \
	    --python-version $(GPU_PYTHON_VERSION) \
	    $(foreach n,28 27 17 12,--platform manylinux_2_$(n)_x86_64) --platform manylinux2014_x86_64 \
	    $(GPU_WHEELS)

bench: dev
	for name in mask optim block_l1 round; do $(BIN)/python benchmarks/bench_$$name.py || exit 1; done
	$(BIN)/python benchmarks/tables.py

install: $(VENV)/installed
dev: $(VENV)/installed-dev

$(VENV)/torch:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"impcore needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	@touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml setup.py $(NATIVE)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .wheels gpu-results build impcore/*.so *.egg-info
