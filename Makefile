# Every target sets up what it needs by itself: Python 3.11+, git and make are enough. ARGS goes to the command where it says so.
SHELL := /bin/sh
VENV := .venv/bin
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench bench-startup bench-pipeline bench-serving bench-monitor bench-looks study-drift bench-fleet bench-batch soak fuzz docs docs-reference clean

help:  ## say what there is
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:  ## the whole loop on real flights: build, gates, approval, production, a year of traffic (ARGS=--yes: ask nothing; --exit: end after it)
	@scripts/demo.sh $(ARGS)

test:  ## the tests, but for the slow ones (ARGS=-x ...)
	@scripts/system.sh
	@scripts/setup.sh dev
	@$(VENV)/pytest -m 'not slow' $(ARGS)

test-slow:  ## the slow tests: environments of frameworks, endpoints under load, kill -9 (ARGS=-x ...)
	@scripts/system.sh
	@scripts/setup.sh dev
	@$(VENV)/pytest -m slow $(ARGS)

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

bench-serving:  ## requests a second beside mlflow, BentoML, LitServe, MLServer, Ray Serve, FastAPI (needs wrk; ARGS=--only mlflow)
	@scripts/setup.sh dev
	@$(VENV)/python bench/serving/run.py $(ARGS)

bench-monitor:  ## a drift report of a million rows beside Evidently's and NannyML's, each in an environment of its own (ARGS="--rows 100000000")
	@scripts/setup.sh
	@$(VENV)/python bench/monitor/run.py $(ARGS)

bench-looks:  ## the monitors of a thousand models at 15-minute windows on one control plane: the share of a core (ARGS="--models 50")
	@scripts/setup.sh
	@$(VENV)/python bench/monitor/fleet.py $(ARGS)

study-drift:  ## shifts of known size put into real data, and false alarms, beside Evidently's and alibi-detect's (ARGS="--cuts 2 --own")
	@scripts/setup.sh dev
	@[ -f examples/flights/data/traffic.parquet ] || $(VENV)/python examples/flights/prepare.py
	@$(VENV)/python bench/monitor/study.py $(ARGS)

soak:  ## a million requests through twenty swaps, a runner killed sixty times, half an hour of mixed load (REQUESTS=n SECONDS=n)
	@scripts/setup.sh dev
	@MODELYARD_SOAK_REQUESTS=$(or $(REQUESTS),1000000) MODELYARD_SOAK_KILLS=60 MODELYARD_SOAK_SECONDS=$(or $(SECONDS),1800) \
		$(VENV)/pytest -s -m slow --timeout 14400 tests/targets/test_swaps.py tests/reliability/test_kills.py tests/reliability/test_soak.py $(ARGS)

fuzz:  ## 100,000 bad requests, none of which may be a 5xx or a hang; Schemathesis against the endpoints' own OpenAPI (SHOTS=n)
	@scripts/setup.sh dev
	@MODELYARD_SOAK_SHOTS=$(or $(SHOTS),100000) MODELYARD_SOAK_EXAMPLES=100 \
		$(VENV)/pytest -s -m slow tests/reliability/test_fuzz.py tests/reliability/test_schema.py $(ARGS)

bench-batch:  ## batch predictions beside a loop by hand, Parquet to Parquet (ARGS="--rows 200000")
	@scripts/setup.sh
	@$(VENV)/python bench/batch.py $(ARGS)

bench-fleet:  ## a thousand compiled models in one front: start, first requests, memory (ARGS="--models 100")
	@scripts/setup.sh
	@$(VENV)/python bench/fleet.py $(ARGS)

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
