# Every command of the project. Each sets up what it needs in .tools/, once for each state of the lock files, and leaves
# the rest of the machine alone. PYTHON=/path/to/python chooses the interpreter.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-fast test-image lint type bench docs languages pictures dashboards dashboard-pictures rules lock clean venv
.SILENT:

BIN := .tools/venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

export PYTHON

help: ## List the commands
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start the exporter, or the bundled demo while no proxy is configured
	scripts/make-venv run-venv requirements.txt
	exec .tools/run-venv/bin/cliproxy-exporter run --or-demo

test: ## Run every check: lint, types, and all tests with real Prometheus servers
	scripts/check

test-fast: venv ## Run the unit tests: no servers, no further programs
	$(BIN)/python -m pytest -n auto tests/unit

test-image: ## Build the container image and start the stack (root, with buildah and podman)
	scripts/test-image

lint: venv ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: venv ## Check the types
	$(BIN)/mypy

bench: venv ## Measure speed and memory
	$(BIN)/python -m benchmarks

docs: venv ## Regenerate the reference pages in docs/
	$(BIN)/python -m tests.stack.pages.reference docs/

languages: venv ## Update the translation catalogues from the pages' texts, and compile them
	$(BIN)/python -m tests.stack.pages.translations

pictures: venv ## Retake the pictures of pages in docs/images/, from the demo
	scripts/fetch-chromium
	$(BIN)/python -m tests.stack.pages.pictures

dashboards: venv ## Regenerate the dashboards in grafana/dashboards/
	$(BIN)/python -m grafana.generator

dashboard-pictures: venv ## Retake the pictures of dashboards in docs/images/, from the Grafana at GRAFANA=URL
	scripts/fetch-chromium
	$(BIN)/python -m tests.stack.pages.dashboards $${GRAFANA:-http://localhost:3000}

rules: ## Regenerate the rules for Kubernetes from prometheus/rules/
	scripts/write-prometheusrule

lock: venv ## Update the lock files from pyproject.toml; existing pins stay
	$(COMPILE) --group build --extra notify pyproject.toml -o requirements.txt
	$(COMPILE) --group build --extra notify --extra test -c requirements.txt pyproject.toml -o requirements-test.txt

clean: ## Remove .tools/ and all caches; never data/ or .env
	rm -rf .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	scripts/make-venv venv requirements-test.txt
