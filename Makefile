# Each target makes .venv on first use. Nothing but Python (3.10 or newer) and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo check test lint docs clean

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed  ## Make .venv and install the package with its pinned dependencies

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: install  ## Train a recurrent Tamiyo on real host training and report what it learned (about 5 minutes)
	rm -rf runs/demo
	$(BIN)/python recipes/train.py --name demo --processes 2 --env.image-size 8 --n-envs 32 --ppo.minibatches 8 \
		--episodes 1024 --eval-episodes 32

check: lint  ## The fast check: format, lint, types and every test not marked slow (under a minute)
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not slow"

test: install lint  ## Lint, check types and run all tests (about 8 minutes)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install  ## Build the documentation site, API pages included, into build/site
	$(BIN)/mkdocs build --strict

clean:  ## Remove the virtual environment and caches; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
