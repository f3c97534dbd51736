# Every chore starts here. `make setup` makes a fresh Debian 12 machine ready (run as root).
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
SIDE_BY_SIDE := -n 6 --dist loadfile --no-loadscope-reorder
PACKAGES := dcmtk orthanc orthanc-dicomweb orthanc-python python3.11-venv chromium faketime postgresql

.PHONY: setup demo test lint compiled facts package compat torture bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(RUN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(RUN)/orthanc-gcp demo

# Some thousand processes run the same modules, and an environment may forbid to keep what they
# compile.
test: export PYTHONDONTWRITEBYTECODE =
test: setup
	$(MAKE) --jobs 2 --output-sync lint compiled
	$(RUN)/pytest -m "not long" $(SIDE_BY_SIDE)

# The tests, once for all who run them side by side
compiled: setup
	$(RUN)/pytest -p no:cacheprovider --collect-only > /dev/null || true

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/bandit --quiet --recursive src 2>/dev/null

# How much of what is known of Google's service the emulator does
facts: setup
	$(RUN)/python -m tests.emulator.facts

# All that people install, in dist; or some: make package NAMES="deb zip"
package: setup
	PYTHONPATH=packaging $(RUN)/python -m artefacts $(NAMES)

# The plugin inside the Orthancs of other Debian releases, the emulator under other Pythons, and
# the clients of others against the emulator; the first run installs releases and clients.
compat: setup
	command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap; }
	$(RUN)/pytest --timeout 900 compat

# Kills and failures by chance, N times, and what takes long: N=1000 SEED=1 make torture
torture: setup
	$(RUN)/pytest -m long $(SIDE_BY_SIDE)
	TORTURE_N=$(N) TORTURE_SEED=$(SEED) $(RUN)/pytest -s --timeout 0 torture

# All but the crowd, or some: make bench NAMES="start stop"
bench: setup
	$(RUN)/pytest bench/tests
	$(RUN)/python -m bench $(NAMES)

clean:
	rm -rf $(VENV) .compat build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
