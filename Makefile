# What a person types. Each target brings what it needs: nothing has to be installed by hand.

PYTHON ?= python3
VENV := .venv
WRDATA := $(VENV)/bin/wrdata

.PHONY: demo dev down test lint types contracts check bench faults schema lock clean

demo: $(VENV)/ready ## the main job from provider to Parquet, through Dagster, on a local world
	$(WRDATA) demo

dev: $(VENV)/ready ## the local world with Dagster's UI and daemon; Ctrl-C stops all of it
	$(WRDATA) up

down: $(VENV)/ready ## stop what was left running
	$(WRDATA) down

test: $(VENV)/ready ## the whole test suite, on real servers of its own
	$(VENV)/bin/python -m pytest --numprocesses 3 --dist loadfile

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/ready
	$(VENV)/bin/basedpyright

contracts: $(VENV)/ready ## imports go down only
	$(VENV)/bin/lint-imports

check: lint types contracts test

bench: $(VENV)/ready ## figures beside what a user would pick instead
	$(VENV)/bin/python -m bench.loader
	$(VENV)/bin/python -m bench.chunks
	$(VENV)/bin/python -m bench.rollups
	$(VENV)/bin/python -m bench.archive
	$(VENV)/bin/python -m bench.restore
	$(VENV)/bin/python -m bench.reader
	$(VENV)/bin/python -m bench.budget
	$(VENV)/bin/python -m bench.dead_letters
	$(VENV)/bin/python -m bench.requests

faults: $(VENV)/ready ## break servers, workers and providers, and see that nothing is lost; SEED=n repeats a run
	$(VENV)/bin/python -m faults

schema: $(VENV)/ready ## write resources/storage/sql/schema.sql anew from the migrations
	$(VENV)/bin/python docs/write_schema.py

lock: $(VENV)/ready ## resolve pyproject.toml anew
	$(VENV)/bin/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  --universal --all-extras --python-version 3.11 pyproject.toml --output-file requirements.lock

clean: ## forget the virtual environment and all local data
	-test -x $(WRDATA) && $(WRDATA) down
	rm -rf $(VENV) .wrdata

# Debian's python3 comes without ensurepip unless python3-venv is installed, which takes root;
# virtualenv from PyPI, kept in a folder of its own, needs neither.
$(VENV)/ready: requirements.lock pyproject.toml
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(VENV).bootstrap 'virtualenv==20.35.4' && \
	  PYTHONPATH=$(VENV).bootstrap $(PYTHON) -m virtualenv --quiet $(VENV) && rm -rf $(VENV).bootstrap; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
