# make demo | test | lint | bench | soak | screenshots. Each sets up .venv (and, where it may, the Debian packages of real peers) itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST := $(BIN)/python -m pytest
# A file of tests at a time to each core, in the order of the folders: the long ones (browser, e2e) come first.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint bench soak screenshots peers clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,demo]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python deploy/demo $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers:
	deploy/install-peers

test: $(VENV)/.installed peers lint
	$(PYTEST) $(PARALLEL) $(ARGS)

soak: $(VENV)/.installed peers
	$(PYTEST) -m soak --timeout 3600 $(ARGS)

bench: $(VENV)/.installed peers
	$(PYTEST) -m bench --timeout 1800 -s tests/bench $(ARGS)

screenshots: $(VENV)/.installed peers
	LEVERET_SCREENSHOTS=1 $(PYTEST) tests/browser $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage demo-data
