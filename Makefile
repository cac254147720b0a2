# Two commands: `make quickstart` trains a small model from a clean checkout, `make test` checks everything.
# Both can be run again at any time and do only what is left to do.

VENV ?= .venv
PYTHON ?= python3
RECIPE ?= configs/quickstart.yaml
RUN ?= runs/quickstart
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test lint types unit clean

quickstart: $(VENV)/.installed
	$(BIN)/annealmix prepare python-corpus --out data/python
	$(BIN)/annealmix plan $(RECIPE)
	$(BIN)/annealmix pretrain $(RECIPE) --resume
	test -e $(RUN)/layers/report.html || $(BIN)/annealmix layers $(RUN) --out $(RUN)/layers --windows 16 \
		--data data/python/code --data data/python/prose

test: lint types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) data runs mlflow.db mlartifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
