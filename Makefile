# Two commands do everything on a fresh machine with python3.11+, make and git: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
export DAGSTER_HOME ?= $(CURDIR)/.dagster_home

.PHONY: help setup demo test dev bench lint types layering audit check trial torture docs lock screenshots clean

help: ## what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV)/ (a minute or two the first time)..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/runtime.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "Installing what tests and checks need..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.runtime ## install into .venv/ and stop
	@echo "Ready: $(BIN)/addon-export --help"

demo: $(VENV)/.runtime ## the main job on a local stand-in for Twilio; needs no account
	@$(BIN)/addon-export demo

# one more than there are cores: many tests wait for a process or a time limit, and each worker takes 12 s to begin
WORKERS := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

test: $(VENV)/.dev ## the test suite
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal  # many tests start processes of ours

dev: $(VENV)/.runtime ## Dagster's UI; prints its address
	@$(BIN)/addon-export ui

$(PEERS)/.locked: requirements/bench.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "Installing what the benchmark's other ways need into $(PEERS)/ (a minute the first time)..."
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/bench.txt
	@touch $@

bench: $(VENV)/.dev $(PEERS)/.locked ## measure the export beside the other ways (15 minutes; ARGS="--scenario cost")
	@$(BIN)/python -m benchmarks.bench $(ARGS)

lint: $(VENV)/.dev ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

layering: $(VENV)/.dev ## import-linter
	@$(BIN)/lint-imports --no-cache

AUDIT := .venv-audit

$(AUDIT)/.locked: requirements/audit.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/audit.txt
	@touch $@

audit: $(AUDIT)/.locked ## search for secrets in the files, and for known vulnerabilities in what is locked
	@$(AUDIT)/bin/python .ci/audit.py

check: lint types layering audit test ## everything CI runs

screenshots: $(VENV)/.dev ## take the pictures in docs/ again (3 minutes; needs Chromium)
	@$(BIN)/python -m docs.screenshots

trial: $(VENV)/.dev ## run one trial: NAME=kills ARGS="--kills 20"; without NAME: which there are
	@$(BIN)/python -m tests.trials $(NAME) $(ARGS)

torture: ## the trials crashes, kills and deletions as they come (two hours)
	@for name in crashes kills deletions; do $(MAKE) --no-print-directory trial NAME=$$name || exit 1; done

docs: $(VENV)/.runtime ## write docs/settings.md, docs/tables.md and docs/questions.md anew
	@$(BIN)/python -m assets.cli.pages >/dev/null

lock: $(VENV)/.dev ## bring the lock files up to date
	@$(BIN)/python -m pip install -qq pip-tools
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) -o requirements/runtime.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) --extra dev -c requirements/runtime.txt -o requirements/dev.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) -o requirements/bench.txt requirements/bench.in
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) -o requirements/audit.txt requirements/audit.in

LOCK := --strip-extras --generate-hashes --allow-unsafe --no-annotate --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

clean: ## remove what make made
	@rm -rf $(VENV) $(PEERS) $(AUDIT) .dagster_home demo-data .mypy_cache .ruff_cache .pytest_cache
