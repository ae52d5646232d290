# `make demo` and `make test` need Linux, Python >= 3.11, make and a C compiler; the rest is set up
# here, in .venv. `make help` lists the targets.
#
# Stamps: .venv/stamp-X says that the environment holds the extra X, built from the present sources.
# Each depends on pyproject.toml and on every C source, and installing an extra includes the base
# install, so that it refreshes the stamp of the base as well. A change to Python sources rebuilds
# nothing: the install is editable.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench kill soak shake fuzz native native-address native-thread docs fmt clean

VENV := .venv
BIN := $(VENV)/bin
# Newer versions of pip pass on that setuptools calls ext-modules in pyproject.toml experimental.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check --quiet
C_SOURCES := $(sort $(wildcard src/holdfast/_native/*.c src/holdfast/state/core/*.c))
C_HEADERS := $(sort $(wildcard src/holdfast/_native/*.h src/holdfast/state/core/*.h))
INPUTS := pyproject.toml $(C_SOURCES) $(C_HEADERS)
C_STRICT = -std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Werror -DPy_LIMITED_API=0x030B0000 \
	-isystem $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
CC ?= cc

# Loops of the longer programs; give them on the command line: make soak MINUTES=60
MINUTES ?= 10
# Of each simulated scenario `make soak` explores so many seeds at least, however long that takes.
SEEDS ?= 10000
SANITIZE ?= address
# More arguments for pytest: make test ARGS='-k clock -x'
ARGS ?=

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# ------------------------------------------------------------------------------ the environment

$(VENV)/stamp-venv: tools/prepare
	@PYTHON='$(PYTHON)' ./tools/prepare $(VENV)
	@$(PIP) install 'setuptools>=77' wheel
	@touch $@

# No build isolation: the build then uses the setuptools of .venv and fetches nothing twice.
$(VENV)/stamp-base: $(VENV)/stamp-venv $(INPUTS)
	@echo 'holdfast: building into $(VENV)' >&2
	@$(PIP) install --no-build-isolation --editable .
	@touch $@

$(VENV)/stamp-%: $(VENV)/stamp-venv $(INPUTS)
	@echo 'holdfast: building into $(VENV), with what "$*" needs' >&2
	@$(PIP) install --no-build-isolation --editable '.[$*]'
	@touch $(VENV)/stamp-base $@

# ------------------------------------------------------------------------------------ for users

demo: $(VENV)/stamp-base ## the whole system on this machine, with real data
	$(BIN)/holdfast demo

# Tests start some thousand interpreters. Where the environment forbids to keep byte code, as in many
# containers, each of them would compile anew whatever it imports.
demo test check bench kill soak shake: export PYTHONDONTWRITEBYTECODE :=

# Tests marked `serial` want the machine to themselves. The others spend half of their time waiting,
# hence more of them at once than there are processors in most places that build, and more patience
# with each. Where ARGS selects, one of the two runs may find nothing, which pytest reports as 5.
NOTHING = $(if $(ARGS),|| test $$? -eq 5)
test: $(VENV)/stamp-test ## every test, in its short form
	$(BIN)/python -m pytest -q -m serial $(ARGS) $(NOTHING)
	$(BIN)/python -m pytest -q -n 4 --timeout=120 -m 'not serial' $(ARGS) $(NOTHING)

# ------------------------------------------------------------------------------- for developers

check: $(VENV)/stamp-check ## format, lint, types, layers, C warnings, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/structure
	set -e; for source in $(C_SOURCES); do $(CC) $(C_STRICT) -c -o /dev/null $$source; done
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

fmt: $(VENV)/stamp-check ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/stamp-docs ## the manual, in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/stamp-bench ## measure beside the peers; JSON and pictures in benchmarks/out
	$(BIN)/python -m benchmarks.state
	$(BIN)/python -m benchmarks.leases
	$(BIN)/python -m benchmarks.membership
	$(BIN)/python -m benchmarks.wake
	$(BIN)/python -m benchmarks.wake.strategies

kill: $(VENV)/stamp-test ## SIGKILL and SIGSTOP after every instruction of a commit
	$(BIN)/python -m pytest tests/kill -q -s --full --timeout=3600 $(ARGS)

soak: $(VENV)/stamp-test ## long random runs: MINUTES=n, and SEEDS=n of each scenario
	$(BIN)/python -m pytest tests/soak -q -s --minutes=$(MINUTES) --seeds=$(SEEDS) --timeout=0 $(ARGS)

shake: $(VENV)/stamp-test ## every test while threads and event loops pause at random: shows races
	$(BIN)/python -m pytest -q -n 4 --timeout=600 --jitter=40 -m 'not serial' $(ARGS)

fuzz: $(VENV)/stamp-test ## broken packets for whatever reads packets: MINUTES=n
	$(BIN)/python -m tests.fuzz.decoders --minutes $(MINUTES) $(ARGS)

native: native-$(SANITIZE) ## the C core under a sanitizer: SANITIZE=address or thread

# The sanitizer's runtime must be the first library of the process, and CPython's own allocator
# would hide overruns from it. CPython keeps what it made until exit, hence detect_leaks=0.
native-address: $(VENV)/stamp-test
	rm -rf build/address && mkdir -p build/address
	cp -r src build/address/src
	set -e; include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	core=build/address/src/holdfast/state/core; native=build/address/src/holdfast/_native; \
	flags="-std=c11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=undefined -DPy_LIMITED_API=0x030B0000 -fPIC -shared"; \
	$(CC) $$flags -isystem $$include -o $$core/native.abi3.so $$core/*.c; \
	$(CC) $$flags -isystem $$include -o $$native/kernel.abi3.so $$native/*.c
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH=build/address/src \
	$(BIN)/python -m pytest -q -p no:cacheprovider --timeout=600 -m "not serial" tests/unit tests/property $(ARGS)

native-thread:
	mkdir -p build/thread
	$(CC) -std=c11 -O1 -g -pthread -fsanitize=thread -Isrc/holdfast/state/core -o build/thread/stress \
		tests/native/stress.c $(addprefix src/holdfast/state/core/,look.c slots.c commit.c several.c)
	TSAN_OPTIONS=halt_on_error=1 build/thread/stress

clean: ## remove everything that was made here
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name '*.so' -o -name '__pycache__' -o -name '*.egg-info' 2>/dev/null \
		| xargs rm -rf
