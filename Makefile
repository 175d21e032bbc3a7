# Everything a person or a machine does here. Needs git, make and Python >= 3.11; the rest is set up by `make setup`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := shared/contracts shared/platform shared/client shared/cli \
	services/gateway services/budget services/session services/audit deploy/embedded deploy/jobs
# Each has a container image, and in deploy/locks the pins of what it holds.
IMAGES := gateway budget session audit jobs
STAMP := $(VENV)/.set-up
# uv trusts the system's certificates, as pip and a company's own authority need it to.
export UV_SYSTEM_CERTS := 1

.PHONY: help setup demo up test check faults images containers bench api lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create the virtual environment with every pinned package and the hookbus command

$(STAMP): requirements.lock bootstrap.lock pyproject.toml $(MEMBERS:=/pyproject.toml) shared/client/scripts/hookbus
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "hookbus needs Python 3.11 or newer; try: make PYTHON=python3.11 setup")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch $@

demo: setup ## play a recorded agent session through the whole system
	$(BIN)/hookbus demo

up: setup ## run the embedded stack in the foreground until Ctrl-C
	$(BIN)/hookbus up

# Most of a test is waiting for processes: two files at a time, each with servers of its own. Those that share a whole
# stack come last, so that it does not run idle beside the others.
test: setup ## run every test (those that need a Docker engine only where one answers)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(addprefix tests/,unit integration faults containers e2e)

check: setup ## lint, format, types, import contracts, supply chain
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python deploy/tracked_secrets.py
	$(BIN)/python deploy/sbom.py build/sbom
	$(BIN)/python deploy/licences.py build/licences.txt
	$(BIN)/python deploy/vulnerabilities.py

faults: setup ## the whole fault matrix and every kill test at full size; HOOKBUS_FAULT_SEED repeats a run
	HOOKBUS_FAULTS=full $(BIN)/pytest tests/faults -m faults --numprocesses 2 --dist loadfile --no-loadscope-reorder

images: ## build the container images, base images included, without a registry (needs an engine and root)
	deploy/airgap/build.sh

containers: setup ## the tests of the containers at full size: TLS, a cluster, servers lost (needs an engine and the images)
	HOOKBUS_CONTAINERS=full $(BIN)/pytest tests/containers

bench: setup ## measure, as ratios against references taken in the same run
	$(BIN)/python -m pytest tests/bench --timeout 900 -s -p no:cacheprovider --override-ini 'python_files=bench_*.py' --override-ini 'python_functions=bench_*'

api: setup ## write the API documents of docs/api anew
	$(BIN)/python -m hookbus.gateway.documents docs/api

lock: ## resolve the pins anew (needs a set-up environment)
	$(BIN)/uv lock --quiet --upgrade
	$(BIN)/uv export --quiet --frozen --format requirements-txt --no-emit-workspace --all-groups --no-annotate --no-header -o requirements.lock
	for image in $(IMAGES); do $(BIN)/uv export --quiet --frozen --format requirements-txt --no-emit-workspace --no-dev --no-annotate --no-header --package hookbus-$$image -o deploy/locks/$$image.lock; done
	$(BIN)/uv export --quiet --frozen --format requirements-txt --only-group build --no-annotate --no-header -o deploy/locks/build.lock
	awk '/^[a-zA-Z0-9]/ {keep = /^uv==/} keep' requirements.lock > bootstrap.lock

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
