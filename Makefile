# Two commands do everything on a fresh machine with python3.11+, make and git: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
export DAGSTER_HOME ?= $(CURDIR)/.dagster_home

.PHONY: help setup demo test dev bench lint types layering audit check torture deletions kills crashes abilities signals faults truncation simulation leaks erasures properties bitrot days readers versions docs lock screenshots clean

help: ## what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.runtime: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV)/ (a minute or two the first time)..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@echo "Installing what tests and checks need..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

setup: $(VENV)/.runtime ## install into .venv/ and stop
	@echo "Ready: $(BIN)/addon-export --help"

demo: $(VENV)/.runtime ## the main job on a local stand-in for Twilio; needs no account
	@$(BIN)/addon-export demo

# two more than there are cores: many tests wait for a process or a time limit
WORKERS := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')

test: $(VENV)/.dev ## the test suite
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal  # many tests start processes of ours

dev: $(VENV)/.runtime ## Dagster's UI; prints its address
	@$(BIN)/addon-export ui

$(PEERS)/.locked: benchmarks/requirements.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "Installing what the benchmark's other ways need into $(PEERS)/ (a minute the first time)..."
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r benchmarks/requirements.txt
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

$(AUDIT)/.locked: .ci/requirements.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r .ci/requirements.txt
	@touch $@

audit: $(AUDIT)/.locked ## search for secrets in the files, and for known vulnerabilities in what is locked
	@$(AUDIT)/bin/python .ci/audit.py

check: lint types layering audit test ## everything CI runs

screenshots: $(VENV)/.dev ## take the pictures in docs/ again (3 minutes; needs Chromium)
	@$(BIN)/python -m docs.screenshots

KILLS ?= 1000

torture: crashes kills deletions ## all trials of crashes: the three that follow

deletions: $(VENV)/.dev ## kill exports and deletions KILLS times; the source judges what it was told to delete
	@$(BIN)/python -c 'from tests.trials.deletions import main; main()' --kills $(KILLS)

kills: $(VENV)/.dev ## kill three exports at once KILLS times, with a reader beside (half an hour)
	@$(BIN)/python -c 'from tests.trials.kills import main; main()' --kills $(KILLS) $(ARGS)

STATES ?= 200

crashes: $(VENV)/.dev ## kill at every system call; kill again, fail or cut the power at STATES of each kind (an hour; needs cc)
	@$(BIN)/python -m tests.trials.crash.run --states $(STATES) $(ARGS)

FILES ?= 20

abilities: $(VENV)/.dev ## whole commands where a file system lacks abilities, and FILES exports with a file too many (needs cc)
	@$(BIN)/python -m tests.trials.abilities --files $(FILES) $(ARGS)

SIGNALS ?= 200

signals: $(VENV)/.dev ## random sequences of commands that are asked to end at random moments, SIGNALS times (half an hour)
	@$(BIN)/python -m tests.trials.signals --signals $(SIGNALS) $(ARGS)

SCENARIOS ?= 500

simulation: $(VENV)/.dev ## export SCENARIOS made-up accounts on a virtual clock; what could be saved must be saved
	@$(BIN)/python -m tests.trials.simulation --scenarios $(SCENARIOS) $(ARGS)

REPLIES ?= 10000

faults: $(VENV)/.dev ## export from a source that gives REPLIES malformed replies, and judge each (8 minutes)
	@$(BIN)/python -m tests.trials.faults.trial --replies $(REPLIES) $(ARGS)

truncation: $(VENV)/.dev ## cut 50 contents after every byte, in three framings: none may pass for whole
	@$(BIN)/python -m tests.trials.faults.truncation $(ARGS)

ERASURES ?= 100

erasures: $(VENV)/.dev ## erase ERASURES times, half of them killed on the way, and search every file for what is left
	@$(BIN)/python -c 'from tests.trials.erasures import main; main()' --erasures $(ERASURES) $(ARGS)

FAILURES ?= 0

leaks: $(VENV)/.dev ## fail in 200 ways and search all that is left for secrets and contents; 500 hostile URLs (15 minutes)
	@HOSTILE_URLS=500 $(BIN)/python -m pytest -q -p no:cacheprovider tests/pipelines/twilio/test_confinement.py
	@$(BIN)/python -m tests.trials.leaks --paths $(FAILURES)

EXAMPLES ?= 100

properties: $(VENV)/.dev ## the properties of the store and of paging, EXAMPLES of each (10 minutes)
	@EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q tests/properties tests/warehouse/test_land_any_order.py

FLIPS ?= 1000

bitrot: $(VENV)/.dev ## flip FLIPS bits, one at a time, and damage files otherwise: all must be named, repairs be honest
	@$(BIN)/python -c 'from tests.trials.bitrot import main; main()' --flips $(FLIPS) $(ARGS)

DAYS ?= 10

days: $(VENV)/.dev ## export an account hour by hour for DAYS days; prints what each export asked for
	@$(BIN)/python -m tests.trials.days --days $(DAYS) $(ARGS)

SECONDS ?= 30

readers: $(VENV)/.dev ## readers at every moment while a writer publishes in a loop, SECONDS for each destination
	@$(BIN)/python -c 'from tests.trials.readers import main; main()' --seconds $(SECONDS)

versions: $(VENV)/.dev ## published files read by DuckDB 1.4 and 1.5
	@$(BIN)/python -c 'from tests.trials.versions import main; main()'

docs: $(VENV)/.runtime ## write docs/tables.md and docs/questions.md anew
	@$(BIN)/python -m assets.cli.pages >/dev/null

lock: $(VENV)/.dev ## bring the lock files up to date
	@$(BIN)/python -m pip install -qq pip-tools
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) -o requirements.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) -o benchmarks/requirements.txt benchmarks/requirements.in
	@$(BIN)/pip-compile --quiet --upgrade $(LOCK) -o .ci/requirements.txt .ci/requirements.in

LOCK := --strip-extras --generate-hashes --allow-unsafe --no-annotate --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

clean: ## remove what make made
	@rm -rf $(VENV) $(PEERS) $(AUDIT) .dagster_home demo-data .mypy_cache .ruff_cache .pytest_cache
