# Everything a reader needs, from a fresh machine with Python ≥ 3.11, make and git.
# On Windows, or without make, call what is beneath a target yourself: the README shows how.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKBOOK := $(BIN)/python .ci/workbook.py

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-fallback notebooks record rekey grid lab lint colab bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{ printf "make %-14s %s\n", $$1, $$2 }'

# The packages are listed in pyproject.toml, the versions that were tested in constraints.txt. The
# marker is made last, so that an interrupted installation starts again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The workbook needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" "setuptools>=77"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
	  --editable ".[sweeps,lab,pages]" --group dev
	touch $@

run: $(VENV)/.installed  ## execute every notebook and build the pages; FRESH=1 trains everything anew
	$(WORKBOOK) run $(if $(filter-out 0,$(FRESH)),--fresh)

test: $(VENV)/.installed  ## quick unit tests, then every notebook; NAMES="03 07": these notebooks alone
	$(WORKBOOK) test $(NAMES)

test-all: $(VENV)/.installed  ## that, the slow tests, and every notebook without data or network
	$(WORKBOOK) test --all

test-fallback: $(VENV)/.installed  ## every notebook on the small digits, without data or network
	$(WORKBOOK) test-fallback $(NAMES)

notebooks: $(VENV)/.installed  ## refresh the committed outputs and records (real data only)
	$(WORKBOOK) notebooks $(NAMES)

record: $(VENV)/.installed  ## train what the store of trainings lacks, keep it (real data only)
	$(WORKBOOK) record $(NAMES)

rekey: $(VENV)/.installed  ## keep the store after a change of helpers.py that leaves every bit alone
	$(WORKBOOK) rekey

grid: $(VENV)/.installed  ## train the grid that notebook 04 searches; STORAGE=address of a database
	$(WORKBOOK) grid $(if $(STORAGE),--storage "$(STORAGE)")

lab: $(VENV)/.installed  ## open JupyterLab
	$(BIN)/jupyter lab $(LAB_OPTIONS)

lint: $(VENV)/.installed  ## ruff, the type checker, and the rules every notebook keeps
	$(WORKBOOK) lint

colab: $(VENV)/.installed  ## stamp a fork's address: make colab REPO=https://github.com/owner/name
	$(WORKBOOK) colab "$(REPO)" "$(REPORT)"
	touch $(VENV)/.installed  # pyproject.toml is newer now, but asks for nothing else

bench: $(VENV)/.installed  ## seconds an epoch beside PyTorch and scikit-learn, peak memory
	$(WORKBOOK) bench

clean:  ## remove the environment, pages, caches and what make's own runs recorded
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache reports/*.html
	cd reports/local 2>/dev/null && rm -rf run test refresh notebooks pages ipython *.lock || true
