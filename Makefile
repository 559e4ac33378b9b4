# What a person types. Each target installs what it needs, and no more: nothing has to be there
# beforehand but Python with pip.

PYTHON ?= python3
VENV := .venv
UV := .uv/bin/uv
WRDATA := $(VENV)/bin/wrdata
RUNS := $(VENV)/has-pipeline
TESTS := $(VENV)/has-test
LINTS := $(VENV)/has-lint
# Whole files go to four processes, in the order of tests/conftest.py: the longest first.
SUITE := $(VENV)/bin/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help demo dev down test test-fast test-long coverage lint types contracts check bench faults operate scale docs \
  schema monitoring kubernetes lock audit images sbom wheels release migrations-check workflows \
  smoke push promote deploy rollback clean

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUNS) ## the main job from provider to Parquet, through Dagster, on a local world
	$(WRDATA) demo

dev: $(RUNS) ## the local world with Dagster's UI and daemon; Ctrl-C stops all of it
	$(WRDATA) up

down: $(RUNS) ## stop what was left running
	$(WRDATA) down

test: $(TESTS) ## the test suite, on real servers of its own
	$(SUITE) -m "not long"

test-long: $(TESTS) ## backups and restores, the UI behind its proxy, killed processes, leaked keys
	$(SUITE) -m long

test-fast: $(TESTS) ## the tests that need no server: a minute
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not servers" \
	  --ignore tests/reference_clients --ignore tests/sandbox --ignore tests/packaging

coverage: $(TESTS) ## the whole suite, and the share of lines and branches that it runs
	$(SUITE) --cov --cov-report term:skip-covered

lint: $(LINTS) ## rules of style and form (ruff)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(LINTS) ## types, strictly (basedpyright)
	$(VENV)/bin/basedpyright

contracts: $(LINTS) ## imports go down only
	$(VENV)/bin/lint-imports

check: lint types contracts test ## what every change has to pass

bench: $(RUNS) ## figures beside what a user would pick instead
	$(VENV)/bin/python -m bench.loader
	$(VENV)/bin/python -m bench.chunks
	$(VENV)/bin/python -m bench.rollups
	$(VENV)/bin/python -m bench.archive
	$(VENV)/bin/python -m bench.restore
	$(VENV)/bin/python -m bench.restore_drill
	$(VENV)/bin/python -m bench.reader
	$(VENV)/bin/python -m bench.audit
	$(VENV)/bin/python -m bench.budget
	$(VENV)/bin/python -m bench.dead_letters
	$(VENV)/bin/python -m bench.requests
	$(VENV)/bin/python -m bench.bytes_per_row
	$(VENV)/bin/python -m bench.exporter

faults: $(RUNS) ## break servers, workers and providers, and see that nothing is lost; SEED=n repeats a run
	$(VENV)/bin/python -m faults

operate: $(TESTS) ## break a watched installation ten times, see each alert fire and clear, restore it
	$(VENV)/bin/python -m operate --runs 3

scale: $(TESTS) ## backfills on 1, 2 and 4 workers; a killed one, Redis restarted, two daemons
	$(VENV)/bin/python -m scale --runs 3

docs: $(VENV)/has-docs ## the documentation site, into .wrdata/site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

schema: $(RUNS) ## write resources/storage/sql/schema.sql anew from the migrations
	$(VENV)/bin/python docs/write_schema.py

monitoring: $(TESTS) ## write deploy/monitoring anew: alert rules, routes, dashboards
	$(WRDATA) monitoring export --directory deploy/monitoring

kubernetes: $(TESTS) $(VENV)/has-kubernetes ## render the chart anew, for the tests that have no Helm
	$(VENV)/bin/python -m tests.deploy.kept_chart

lock: $(UV) ## resolve pyproject.toml anew
	$(UV) pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  --universal --all-extras --group every --python-version 3.11 \
	  pyproject.toml --output-file requirements.lock

# Not in `check`: it needs the network, and fails where it cannot ask. Without --strict pip-audit
# leaves out what it cannot audit, and then says that nothing is known.
audit: $(UV) ## ask whether a locked dependency has a known weakness; fails where it cannot ask
	$(UV) tool run --from 'pip-audit>=2.9' pip-audit --strict --disable-pip --require-hashes \
	  --vulnerability-service osv --requirement requirements.lock

images: ## the container images, by docker, podman or buildah (docs/how-to/containers.md)
	deploy/image/build

sbom: ## what the environment of the images holds, into .wrdata/sbom.json (CycloneDX)
	deploy/image/sbom .wrdata/sbom.json

wheels: $(UV) ## wrdata and wrdata-simulators, as wheels in dist/
	$(UV) build --quiet --wheel --out-dir dist --build-constraints requirements.lock --require-hashes .
	$(UV) build --quiet --wheel --out-dir dist --build-constraints requirements.lock --require-hashes \
	  deploy/release/simulators

release: ## what this commit lacks to be a release; if nothing, its wheels
	deploy/release/check_release
	$(MAKE) wheels

migrations-check: ## the last release's tests on the schema of this commit
	deploy/release/check_migrations

workflows: $(LINTS) ## the workflows of GitHub Actions, and the scripts that they call
	PATH="$$PWD/$(VENV)/bin:$$PATH" $(VENV)/bin/actionlint
	$(VENV)/bin/zizmor --offline --no-progress .github
	grep -rl '^#!' deploy/release | xargs $(VENV)/bin/shellcheck

smoke: ## each image of `make images` starts and is healthy, by docker
	deploy/release/smoke

push: ## the images of `make images` to REGISTRY, as VERSION
	deploy/release/push

promote: ## the images of REVISION in REGISTRY get the version's name; nothing is built
	deploy/release/promote

deploy: ## this version onto HOST, from REGISTRY (docs/how-to/upgrade.md)
	deploy/release/deploy deploy

rollback: ## this version onto HOST again, after a newer one
	deploy/release/deploy rollback

clean: ## forget the virtual environment and all local data
	-test -x $(WRDATA) && $(WRDATA) down
	rm -rf $(VENV) .uv .wrdata

# A set is one of pyproject.toml's extras and groups. Its versions and hashes are the lock's.
# What an earlier target has installed stays.
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(VENV)/bin/python --require-hashes \
  --constraint requirements.lock --requirement pyproject.toml --extra pipeline --group
ITSELF = $(UV) pip install --quiet --python $(VENV)/bin/python --no-deps \
  --build-constraint requirements.lock --editable .

$(VENV)/has-pipeline: $(VENV)/made pyproject.toml
	$(INSTALL) sandbox
	$(ITSELF)
	touch $@

$(VENV)/has-test $(VENV)/has-lint $(VENV)/has-docs $(VENV)/has-kubernetes: $(VENV)/has-%: $(RUNS)
	$(INSTALL) $*
	touch $@

$(VENV)/made: $(UV) requirements.lock
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	touch $@

# pip installs what needs no virtual environment, so Debian's python3, which comes without
# ensurepip, will do.
$(UV): requirements.lock
	rm -rf .uv && mkdir .uv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .uv/requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .uv --no-deps \
	  --require-hashes --requirement .uv/requirements.lock
	touch $@
