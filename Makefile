# Everything runs in a virtual environment of its own; `make quickstart` and `make test` need Python 3.11+ and pip only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CODE := sparrow tests benchmarks

.PHONY: quickstart test test-slow test-slurm check clean

quickstart: $(VENV)/.installed
	$(BIN)/sparrow train experiment=quickstart

test: check
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

# On a SLURM of this machine's own, from Debian packages; a part of test-slow.
test-slurm: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow tests/slurm

check: $(VENV)/.installed-test
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/mypy

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

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
