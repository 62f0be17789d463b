# Everything runs in a virtual environment of its own; `make quickstart` and `make test` need Python 3.11+ and pip only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CODE := sparrow tests benchmarks
PYTEST = $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
PROCESSES := 2

.PHONY: quickstart test test-slow test-all test-slurm check check-types check-style docs hooks clean

quickstart: $(VENV)/.installed
	$(BIN)/sparrow train experiment=quickstart

# Three processes on two cores: fast tests wait for processes and timers a quarter of their time.
test: PROCESSES := 3
test: check
	$(PYTEST) -m "not slow and not exhaustive"

test-slow: $(VENV)/.installed-test
	$(PYTEST) -m "slow and not exhaustive"

# Every test, also every variant of what a smaller test covers: before a release, not in CI.
test-all: check
	$(PYTEST)

# On a SLURM of this machine's own, from Debian packages; a part of test-slow.
test-slurm: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "slow and not exhaustive" tests/slurm

# Types take half of the time and one core, so the rest is checked beside them.
check: $(VENV)/.installed-test
	$(MAKE) --no-print-directory --jobs 2 --output-sync check-types check-style

check-types:
	$(BIN)/mypy

check-style:
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports

# The site in build/site; a broken link is an error.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Check every commit of this clone before it is made; what the hooks run is installed already.
hooks: $(VENV)/.installed-test
	$(BIN)/pre-commit install

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit("Sparrow needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip setuptools
	$(PIP_INSTALL) torch
	touch $@

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt $(VENV)/.python
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) --editable ".[test]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
