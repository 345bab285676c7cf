# One command each; `make help` lists them.  Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt $(shell find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.cu*')
CXX_FILES = $(shell find csrc -name '*.[ch]pp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
PACKAGES := recsys_core plugins/recsys_classic plugins/recsys_datasets plugins/recsys_neural
PYTEST := $(BIN)/python -m pytest
# Processes that share the Python tests.
WORKERS ?= auto
# The CUDA module over an emulation of a device.
EMULATED = -DRECSYS_CUDA=EMULATED -DRECSYS_BUILD_CORE=OFF -DRECSYS_WERROR=ON \
    -DPython_EXECUTABLE=$(abspath $(BIN))/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help quickstart test test-fast test-slow test-cpp test-sanitize test-threads test-cuda lint lint-cuda format bench wheel wheel-cuda clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/install.stamp: $(VENV)/pip.stamp $(SOURCES) constraints.txt
	$(PIP) install -q -c constraints.txt --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/install.stamp
	$(PIP) install -q -c constraints.txt --group dev
	@touch $@

quickstart: $(VENV)/install.stamp ## train, compare, export and recommend on MovieLens-100K
	$(BIN)/recsys quickstart

test: $(VENV)/dev.stamp test-cpp test-cuda test-fast ## C++, Python, doctests, documentation: all but what is slow
	$(PYTEST) --doctest-modules $(PACKAGES)

test-fast: $(VENV)/dev.stamp ## the Python tests alone, but the slow ones
	$(PYTEST) -n $(WORKERS) -m 'not slow' tests

test-slow: $(VENV)/dev.stamp ## the rest: builds a wheel, makes environments, trains every model to be good
	$(PYTEST) -n $(WORKERS) --dist worksteal -m slow tests

test-cpp: $(VENV)/dev.stamp ## the tests of the core without Python
	$(BIN)/cmake -S . -B build/tests -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	    -DRECSYS_BUILD_PYTHON=OFF -DRECSYS_BUILD_TESTS=ON -DRECSYS_WERROR=ON
	$(BIN)/cmake --build build/tests
	$(BIN)/ctest --test-dir build/tests --output-on-failure

# The interpreter is not built for it: the library must come first, beside the one that throws, and leaks are its own.
test-sanitize: $(VENV)/dev.stamp ## test-cpp and test-cuda under AddressSanitizer and UndefinedBehaviorSanitizer of GCC
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja $(EMULATED) \
	    -DRECSYS_BUILD_TESTS=ON -DRECSYS_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so.6)" \
	    ASAN_OPTIONS=detect_leaks=0 RECSYS_CUDA_EMULATED=build/sanitize $(PYTEST) -m gpu tests/ops

test-threads: $(VENV)/dev.stamp ## test-cpp, but for the emulated device, under ThreadSanitizer of GCC
	$(BIN)/cmake -S . -B build/threads -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	    -DRECSYS_BUILD_PYTHON=OFF -DRECSYS_BUILD_TESTS=ON -DRECSYS_WERROR=ON -DRECSYS_SANITIZE=thread
	$(BIN)/cmake --build build/threads
	$(BIN)/ctest --test-dir build/threads --output-on-failure

test-cuda: $(VENV)/dev.stamp ## the CUDA module's Python tests, over an emulation of a device
	$(BIN)/cmake -S . -B build/emulated -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja $(EMULATED)
	$(BIN)/cmake --build build/emulated
	RECSYS_CUDA_EMULATED=build/emulated $(PYTEST) -m gpu tests/ops

lint: $(VENV)/dev.stamp lint-cuda ## formatting, style, types, layers; the CUDA code, where nvcc is
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# For one architecture, without code for the others: seconds, where the wheel takes minutes.
lint-cuda: $(VENV)/dev.stamp
	@if command -v nvcc >/dev/null; then \
	  $(BIN)/cmake -S . -B build/lint-cuda -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	      -DRECSYS_BUILD_PYTHON=OFF -DRECSYS_WERROR=ON -DRECSYS_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=80-real && \
	  $(BIN)/cmake --build build/lint-cuda --target recsys_cuda; \
	else echo "nvcc was not found: the CUDA code is not compiled"; fi

format: $(VENV)/dev.stamp ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: $(VENV)/dev.stamp ## the benchmarks, beside other libraries
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

wheel: $(VENV)/dev.stamp ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist .

wheel-cuda: $(VENV)/dev.stamp ## build the wheel of the CUDA module; needs nvcc; CUDA_ARCHITECTURES= takes fewer than all
	$(BIN)/python -m build --wheel --outdir dist packaging/cuda \
	    $(if $(CUDA_ARCHITECTURES),-C cmake.define.CMAKE_CUDA_ARCHITECTURES="$(CUDA_ARCHITECTURES)")

clean: ## remove what was built; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
