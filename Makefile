# Everything a fresh clone needs. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help same-python setup setup-dev run test prove properties lint format bench replay-proof lock slots transients leadership memory clean truth liveness alerts outage hostile budget

# where else pip would install to, and what would keep it from taking the locked versions
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_CONSTRAINT PIP_REQUIREMENT
unexport PIP_REQUIRE_HASHES PIP_NO_BINARY PIP_ONLY_BINARY PIP_PLATFORM PIP_REPORT PIP_EDITABLE
unexport PYTHONHOME PYTHONUSERBASE

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
# a full proof takes longer than any test of the suite may
LONG := $(BIN)/pytest -q -o faulthandler_timeout=0
# an environment variable of this name is somebody else's wish
ifneq ($(origin PYTHON),command line)
override PYTHON :=
endif
# the interpreter that PYTHON=... names, else the newest one here that is 3.11 or later and can make
# a virtual environment
FIND_PYTHON = for each in $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python); do \
	if $$each -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then command -v $$each; exit; fi; done

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/bin/python:
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "make: $(or $(PYTHON),no Python here) is no Python 3.11 or later with the venv module; on Debian: apt install python3 python3-venv" >&2; exit 1; fi; \
	echo "making .venv with $$("$$python" --version)"; "$$python" -m venv .venv

.venv/run.stamp: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing the locked dependencies"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	@echo "installing the locked tools and test clients"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

setup: same-python .venv/run.stamp ## make .venv with the locked dependencies; PYTHON=python3.12 chooses the interpreter

same-python:
	@if [ -n "$(PYTHON)" ] && [ -x $(BIN)/python ] && \
		[ "$$($(BIN)/python -V)" != "$$($(PYTHON) -V)" ]; then \
		echo "make: .venv is $$($(BIN)/python -V), not $$($(PYTHON) -V): run make clean first" >&2; exit 1; fi

setup-dev: .venv/dev.stamp ## the same with the tools of the next four

run: setup ## the demo: daemon, local exchange and local Gemini; Ctrl-C stops it
	@$(BIN)/upbitd demo

test: setup-dev ## the whole suite with coverage, on a real Postgres and Redis
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --cov --cov-report=term --cov-fail-under=90

prove: setup-dev ## kill the order path everywhere, whatever the exchange answers: 0 doubled, 0 lost
	@PYTHONPATH=tests $(BIN)/python -m proof

properties: setup-dev ## many random histories of trading against the invariants of its books
	@UPBITD_EXAMPLES=300 $(LONG) -s tests/integration/jobs/orders/test_properties.py

truth: setup-dev ## health against nearly a hundred real troubles: 0 false green
	@PYTHONPATH=tests $(BIN)/python -m truth

liveness: setup-dev ## lanes that stop, under a watchdog that ends the process
	@PYTHONPATH=tests $(BIN)/python -m truth.liveness

alerts: setup-dev ## alerts across kills and failing hooks: 0 lost
	@PYTHONPATH=tests $(BIN)/python -m truth.alerts

outage: setup-dev ## Postgres stopped for 5 s and 60 s: nothing lost, work again within 5 s
	@PYTHONPATH=tests $(BIN)/python -m truth.outage

lint: setup-dev ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: setup-dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: setup-dev ## measurements beside their references
	@for each in bench/[a-z]*.py; do echo "== $$each"; $(BIN)/python -m "bench.$$(basename "$$each" .py)"; done

replay-proof: setup-dev ## recorded September 2025 of five markets, replayed twice: result, speed, bit-identity
	@$(BIN)/python -m bench.replay --html build/replay.html

hostile: setup-dev ## ten thousand hostile answers of the model through the whole path
	@UPBITD_HOSTILE=10400 $(LONG) tests/integration/test_hostile_answers.py

budget: setup-dev ## ten thousand model calls by callers that are killed: no cent over the budget
	@UPBITD_BUDGET_CALLS=10500 $(LONG) tests/integration/test_budget_under_kills.py

slots: setup-dev ## proof: 100,000 due slots under random faults, one outcome each
	@PYTHONPATH=tests $(BIN)/python -m fixtures.slot_proof 100000

transients: setup-dev ## proof: 1,000,000 calls with faults in a row: recovery and amplification
	@PYTHONPATH=tests $(BIN)/python -m fixtures.transient_proof 1000000

leadership: setup-dev ## proof: three daemons, the leader killed or frozen over 1,000 slots
	@PYTHONPATH=tests $(BIN)/python -m fixtures.leadership_proof 1000

memory: setup-dev ## proof: growth over 1,000,000 job runs
	@$(BIN)/python -m bench.memory 1000000

lock: ## renew both lock files (needs uv): versions and hashes only
	@options="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --no-strip-extras"; \
	uv pip compile $$options --extra sandbox --extra apprise --group build pyproject.toml -o requirements.lock; \
	uv pip compile $$options --extra sandbox --extra apprise --group build --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

clean: ## remove .venv and everything that was built
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .coverage* htmlcov
