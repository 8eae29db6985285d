# `make demo` hears it, `make test` checks it; both prepare .venv by themselves.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
NATIVE := CMakeLists.txt $(shell find cpp/include cpp/src cpp/bindings cpp/bench -name '*.h' -o -name '*.cpp' -o -name CMakeLists.txt)

.PHONY: help demo test lint format bench soak fuzz clean

help:
	@echo "make demo     synthesise an instrument, train briefly, export, render, draw, play it in Pd: look into demo/"
	@echo "make test     every test but the soak tests, C++ ones also under sanitizers and on emulated processors"
	@echo "make lint     ruff, mypy, clang-format, clang-tidy"
	@echo "make format   let ruff and clang-format rewrite what they can"
	@echo "make bench    speed of training steps and exports on this machine"
	@echo "make soak     the long tests (tens of minutes)"
	@echo "make fuzz     hostile model files for SECONDS=600"
	@echo "make clean    remove the environment, caches and the demo; runs/ stays"

$(READY): pyproject.toml $(NATIVE)
	.ci/packages
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,evaluate]'
	@touch $@

demo: $(READY)
	.ci/native pd
	$(BIN)/ravel demo --out demo

test: $(READY)
	.ci/native test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	.ci/tidy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files -z '*.cpp' '*.h' | xargs -0 $(BIN)/clang-format -i

bench: $(READY)
	$(BIN)/ravel bench

soak: $(READY)
	.ci/native fuzz 1800
	$(BIN)/python -m pytest -m soak

fuzz: $(READY)
	.ci/native fuzz $(or $(SECONDS),600)

clean:
	rm -rf .venv demo build dist python/_native*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests -name __pycache__ -type d -prune -exec rm -rf {} +
