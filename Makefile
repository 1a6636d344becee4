# Every target sets up what it needs by itself: Python 3.11+, git and make are enough. ARGS goes to the command where it says so.
SHELL := /bin/sh
VENV := .venv/bin
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick check bench bench-startup bench-pipeline docs docs-reference clean

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

bench:  ## every bench below, each beside its peers in one run (minutes; ARGS=--json)
	@scripts/setup.sh
	@rc=0; for each in startup.py bias.py explain.py data.py pipeline/run.py; do $(VENV)/python bench/$$each $(ARGS) || rc=1; echo; done; exit $$rc

bench-startup:  ## start-up times of the quick commands beside their bounds (ARGS=--json)
	@scripts/setup.sh
	@$(VENV)/python bench/startup.py $(ARGS)

bench-pipeline:  ## a build beside a plain script and seven other tools, each in an environment of its own (ARGS=--only plain,modelyard)
	@scripts/setup.sh
	@$(VENV)/python bench/pipeline/run.py $(ARGS)

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
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis site examples/flights/data .bench
	find src tests examples scripts bench -name __pycache__ -type d -prune -exec rm -rf {} +
