# chipcyte: the commands a newcomer needs. Every target sets up what it needs in .venv.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export CHIPCYTE_HOME ?= $(CURDIR)/.chipcyte

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint types bench docs down clean audit lock

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Install everything into .venv from the lock file

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## Simulate an experiment, run the whole pipeline on it, say where to look
	$(BIN)/chipcyte demo

test: $(STAMP) ## Run the fast tests, a process a core
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: $(STAMP) ## Run all tests, those that are slow or start servers too
	$(BIN)/python -m pytest -m "not gpu"

lint: $(STAMP) ## Check style, import contracts and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## Check types, strictly
	$(BIN)/mypy

bench: $(STAMP) ## Run the benchmarks against peers (NAME=extract for one)
	$(BIN)/python -m tests.benchmarks $(NAME)

docs: $(STAMP) ## Build the documentation into site/ (read it with `python -m http.server -d site`)
	$(BIN)/mkdocs build --strict --quiet

down: $(STAMP) ## Stop the Prefect and MLflow servers that the demo started
	$(BIN)/chipcyte down

clean: down ## Remove the demo's data; the environment stays
	rm -rf demo .chipcyte

audit: $(STAMP) ## Look for known weaknesses of what is installed (asks pypi.org)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

lock: ## Resolve the lock file anew (needs uv)
	uv pip compile pyproject.toml --extra dev --extra docs --universal --generate-hashes --python-version 3.11 \
	  --fork-strategy fewest --constraint deployments/lock-constraints.txt --no-header --output-file requirements.lock
