# Everything runs from a virtual environment of its own, made on first use; nothing is installed system-wide
# (but `make interop`, which asks apt for the peers).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SELECT ?= not interop and not slow
SECONDS ?= 60
JOBS   ?= auto
WHEELS ?= wheels/*.whl

INSTALLED := $(VENV)/installed.stamp
BUILT     := $(VENV)/built.stamp
SOURCES   := $(wildcard src_pyx/sipcore/*.pyx src_pyx/sipcore/*.pxd src_pyx/sipcore/c/*)
COMPILE   := . $(VENV)/compile.env &&

.DEFAULT_GOAL := help
.PHONY: help arm-instructions demo test interop bench instructions lint sanitize coverage fuzz soak wheels check-wheels clean build

help:                   ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 14

demo: $(BUILT)          ## a device with eight services comes online, calls itself, loses its proxy and recovers
	@$(BIN)/sipcore demo $(ARGS)

test: $(BUILT)          ## the tests that take seconds (SELECT="not interop" adds the slow ones)
	@$(BIN)/python -m pytest -n $(JOBS) -m "$(SELECT)" $(ARGS)

interop: $(BUILT)       ## against Kamailio, SIPp, Knot DNS and tshark, installed from Debian packages if root
	@.ci/install-peers
	@$(BIN)/python -m pytest -m interop $(ARGS) tests/interop

bench: $(BUILT)         ## pytest-benchmark over benches/, beside the stored run of the same CPU (STORE=--store: store it)
	@mkdir -p bench-out && rm -f bench-out/benchmark.json
	@$(BIN)/python -m pytest benches -o python_files='bench_*.py' -o python_functions='bench_* test_*' \
	    --benchmark-json=bench-out/benchmark.json $(ARGS)
	@$(BIN)/python benches/compare.py bench-out/benchmark.json $(STORE)

instructions: $(BUILT)  ## instructions that each operation takes, by callgrind, against the stored counts
	@.ci/install-peers valgrind
	@$(BIN)/python benches/instructions.py $(ARGS)

lint: $(BUILT)          ## ruff, mypy --strict, and the stubs against the compiled modules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python .ci/stubs.py

sanitize: $(BUILT)      ## the tests of the compiled rooms under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(COMPILE) PYTHON=$(CURDIR)/$(BIN)/python tests/sanitize.sh $(ARGS)

coverage: $(BUILT)      ## which lines of the compiled message rooms their tests reach
	@$(COMPILE) PYTHON=$(CURDIR)/$(BIN)/python tests/coverage.sh $(ARGS)

fuzz: $(BUILT)          ## fuzz every target for SECONDS each
	@$(COMPILE) PYTHON=$(CURDIR)/$(BIN)/python tests/fuzz/run.sh $(SECONDS) $(ARGS)

soak: $(BUILT)          ## the slow tests one by one, in full numbers and real time: hours, storms, leaks (idle machine)
	@SIPCORE_SOAK=1 $(BIN)/python -m pytest -m "slow and not interop" $(ARGS)

build: $(BUILT)         ## compile the rooms in place
	@:

$(VENV)/compile.env: .ci/python-headers
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@.ci/python-headers $(BIN)/python $(VENV)/headers > $@.new && mv $@.new $@

# Cython and setuptools go in first: a build in isolation would compile with another Cython than later changes do.
$(INSTALLED): pyproject.toml setup.py $(VENV)/compile.env
	@echo "Installing sipcore and its tools into $(VENV); the first time takes a few minutes."
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" \
	    > $(VENV)/build-requirements.txt
	@$(BIN)/python -m pip install -q -r $(VENV)/build-requirements.txt
	@$(COMPILE) $(BIN)/python -m pip install -q --no-build-isolation -e '.[dev]'
	@touch $@

$(BUILT): $(INSTALLED) $(SOURCES)
	@$(COMPILE) $(BIN)/python setup.py -q build_ext -i
	@touch $@

WHEEL_TOOLS := build/wheel-tools/installed.stamp
$(WHEEL_TOOLS): wheels/requirements.txt
	@$(PYTHON) -m venv build/wheel-tools
	@build/wheel-tools/bin/python -m pip install -q -r wheels/requirements.txt
	@touch $@

wheels: $(WHEEL_TOOLS)  ## build the wheels of every architecture into wheels/
	@PATH=$(CURDIR)/build/wheel-tools/bin:$$PATH python wheels/build.py $(ARGS)

check-wheels: $(WHEEL_TOOLS)  ## test the wheels in wheels/ from outside the tree, foreign ones under qemu-user
	@.ci/install-peers qemu-user
	@PATH=$(CURDIR)/build/wheel-tools/bin:$$PATH python wheels/check.py $(ARGS) $(WHEELS)

arm-instructions: $(WHEEL_TOOLS)  ## instructions of the ARM wheels in wheels/, by an emulator, against the stored counts
	@.ci/install-peers qemu-user
	@PATH=$(CURDIR)/build/wheel-tools/bin:$$PATH python benches/instructions.py $(ARGS) \
	    $(addprefix --wheel ,$(filter-out %x86_64.whl,$(wildcard $(WHEELS))))

clean:                  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist bench-out .benchmarks .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find sipcore -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
