# Two commands from a bare clone:  make quickstart   make test
# Needs Python >= 3.11, git and make; everything else goes into .venv.

VENV        ?= .venv
EXTRAS      ?=
CONSTRAINTS ?= constraints.txt
OUTPUT      ?= quickstart
JOBS        ?= 2
BENCHMARKS  ?= commands quickstart train curvature flatness
PYTHON      ?= $(shell for p in python3 python3.13 python3.12 python3.14 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
comma  := ,
extras  = $(if $(strip $(1)),[$(subst $() ,$(comma),$(strip $(1)))])

.PHONY: help install quickstart check test pytest lint types format benchmarks clean

help:
	@echo "make quickstart   install, train sparse tickets on the built-in digits, draw the barriers (an HTML page)"
	@echo "make check        lint, types, the tests of what has changed; SINCE=REV compares with another revision than main"
	@echo "make test         install, lint, types, all tests"
	@echo "make install      into $(VENV); EXTRAS=cuda13 (or cuda12, images, convert, control, torch) adds what they need"
	@echo "make benchmarks   what everything costs on this machine; BENCHMARKS=commands measures that one alone"
	@echo "make lint types pytest format clean"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with venv found; say make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	@echo "Installing into $(VENV) (a minute or two) ..."
	$(PIP) -e '.$(call extras,$(EXTRAS))'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.$(call extras,dev $(EXTRAS))'
	@touch $@

install: $(VENV)/.installed
	@$(if $(strip $(EXTRAS)),$(PIP) -e '.$(call extras,$(EXTRAS))')
	@echo "Installed. Try: $(BIN)/landscape --help"

quickstart: $(VENV)/.installed
	$(BIN)/landscape quickstart --force -o $(OUTPUT)

check: lint types
	$(BIN)/python tests/changed.py $(if $(SINCE),--since $(SINCE)) | xargs -r $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test: lint types pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

pytest: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -rs -n $(JOBS) --dist worksteal

benchmarks: $(VENV)/.installed-dev
	@set -e; for name in $(BENCHMARKS); do echo "== benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name; done

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
