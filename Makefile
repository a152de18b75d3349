.PHONY: help demo test lint docs clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo

help:
	@echo "make demo   install into .venv, make a world of generated videos, train on it, write $(DEMO)/report.html"
	@echo "make test   install the dev needs into .venv and run the whole suite"
	@echo "make docs   build the documentation into docs/_build"

$(VENV)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	@touch $@

# PIP_FIND_LINKS, where it is set, names local wheels; uv reads the same setting under its own name
INSTALL := UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python

NATIVE := $(wildcard mmgraph/ops/*.h mmgraph/ops/*/*.c)

$(VENV)/demo-installed: pyproject.toml $(NATIVE) | $(VENV)/uv
	$(INSTALL) -e '.[media]'
	@touch $@

$(VENV)/dev-installed: pyproject.toml $(NATIVE) | $(VENV)/uv
	$(INSTALL) -e '.[dev,docs]'
	@touch $@

demo: $(VENV)/demo-installed
	$(BIN)/mmgraph demo --out $(DEMO)

test: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/dev-installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

docs: $(VENV)/dev-installed
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build

clean:
	rm -rf $(VENV) docs/_build .ruff_cache .hypothesis
