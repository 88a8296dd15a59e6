# Everything a reader needs, from a fresh machine with Python ≥ 3.11, make and git.
# On Windows, or without make, call what is beneath a target yourself: the README shows how.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKBOOK := $(BIN)/python .ci/workbook.py

.DEFAULT_GOAL := help
.PHONY: help run test test-fallback notebooks record lab lint colab bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{ printf "make %-14s %s\n", $$1, $$2 }'

# pip reads the dependencies from pyproject.toml; the marker is made last, so that an interrupted
# installation starts again.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The workbook needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

run: $(VENV)/.installed  ## execute every notebook, build reports/index.html and reports/report.html
	$(WORKBOOK) run

test: $(VENV)/.installed  ## unit tests, then every notebook
	$(WORKBOOK) test

test-fallback: $(VENV)/.installed  ## the same with no data and no network
	$(WORKBOOK) test --fallback

notebooks: $(VENV)/.installed  ## refresh the committed outputs and records (real data only)
	$(WORKBOOK) notebooks $(NAMES)

record: $(VENV)/.installed  ## train what is too long for every run, keep it in reports/ (real data only)
	$(WORKBOOK) record $(NAMES)

lab: $(VENV)/.installed  ## open JupyterLab
	$(BIN)/jupyter lab $(LAB_OPTIONS)

lint: $(VENV)/.installed  ## ruff, and the rules every notebook keeps
	$(WORKBOOK) lint

colab: $(VENV)/.installed  ## stamp a fork's address: make colab REPO=https://github.com/owner/name
	$(WORKBOOK) colab "$(REPO)" "$(REPORT)"
	touch $(VENV)/.installed  # pyproject.toml is newer now, but asks for nothing else

bench: $(VENV)/.installed  ## seconds an epoch beside PyTorch and scikit-learn, peak memory
	$(WORKBOOK) bench

clean:  ## remove the environment, pages, caches and what make's own runs recorded
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache reports/*.html
	cd reports/local 2>/dev/null && rm -rf run test refresh notebooks pages ipython || true
