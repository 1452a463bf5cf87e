# make demo    a pruning run on real images and its report, from a bare clone
# make test    lint and the suite;  make soak: the long versions
# make bench   the benchmarks
# make test-gpu    the tests that need a GPU; GPU_PYTHON=python3 takes what is installed there
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
NATIVE  := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh')
CXXCODE := $(NATIVE) $(shell find tests/csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')

.PHONY: demo test lint suite soak bench test-gpu install dev clean

demo: install
	$(BIN)/impcore-run digits.toml

test: lint suite

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXXCODE)
	$(BIN)/mypy

suite: dev
	$(BIN)/python -m pytest -q

soak: dev
	$(BIN)/python -m pytest -q -m soak --timeout 7200

# With GPU_PYTHON on the command line nothing is installed: for machines without a network.
test-gpu: $(if $(filter command,$(origin GPU_PYTHON)),,dev)
	$(GPU_PYTHON) setup.py -q build_ext --inplace
	$(GPU_PYTHON) -m pytest -q -m gpu

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
	rm -rf $(VENV) build impcore/*.so *.egg-info
