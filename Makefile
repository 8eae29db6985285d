# `make demo` hears it, `make test` checks it; both prepare .venv by themselves.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed

.PHONY: help demo test lint format bench soak clean

help:
	@echo "make demo     synthesise an instrument, train briefly, export, render, draw: look into demo/"
	@echo "make test     every test but the soak tests"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff rewrite what it can"
	@echo "make bench    speed of training steps and exports on this machine"
	@echo "make soak     the long tests (tens of minutes)"
	@echo "make clean    remove the environment, caches and the demo; runs/ stays"

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch $@

demo: $(READY)
	$(BIN)/ravel demo --out demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/ravel bench

soak: $(READY)
	$(BIN)/python -m pytest -m soak

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache
	find python tests -name __pycache__ -type d -prune -exec rm -rf {} +
