# Every target sets up what it needs by itself: Python 3.11+, git and make are enough. ARGS goes to the command where it says so.
SHELL := /bin/sh
VENV := .venv/bin
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick check bench docs docs-reference clean

help:  ## say what there is
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:  ## the whole loop on real flights: build, gates, approval, production, a year of traffic (ARGS=--yes: ask nothing; --exit: end after it)
	@scripts/demo.sh $(ARGS)

test:  ## the tests, quick ones first (ARGS=-x ...)
	@scripts/system.sh
	@scripts/setup.sh dev
	@$(VENV)/pytest $(ARGS)

test-quick:  ## the tests without the slow ones (ARGS=-x ...)
	@scripts/setup.sh dev
	@$(VENV)/pytest -m 'not slow' $(ARGS)

check:  ## ruff, mypy and the import contracts
	@scripts/setup.sh dev
	@$(VENV)/ruff check
	@$(VENV)/ruff format --check
	@$(VENV)/mypy
	@$(VENV)/lint-imports

bench:  ## start-up times beside their bounds (ARGS=--json)
	@scripts/setup.sh
	@$(VENV)/python bench/startup.py $(ARGS)

docs:  ## write the generated reference and build the site into site/
	@scripts/setup.sh docs
	@$(VENV)/python scripts/docs.py
	@$(VENV)/zensical build --clean

docs-reference:  ## write docs/reference/{cli,config}.md and config.schema.json from the code
	@scripts/setup.sh
	@$(VENV)/python scripts/docs.py

clean:  ## remove the environment, caches, built docs, example data and the demo's home
	@[ ! -d .modelyard/demo ] || chmod -R u+w .modelyard/demo
	rm -rf .modelyard/demo
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis site examples/flights/data
	find src tests examples scripts bench -name __pycache__ -type d -prune -exec rm -rf {} +
