# labmon: `make demo` shows it, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-release
WORKERS ?= 2

.PHONY: demo test hostile lint servers bench wheel deb lock sbom licences clean

demo: $(VENV)/.installed
	$(BIN)/labmon demo

test: $(VENV)/.tested servers lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

# That no value is ever another request's: 100 000 exchanges of every kind of link with hostile peers, with a seed of its
# own, which it prints. The same again: HOSTILE_SEED=... . `make test` runs 6000 of them.
HOSTILE_EXCHANGES ?= 100000
HOSTILE_SEED ?= $(shell date +%s)
hostile: $(VENV)/.tested
	HOSTILE_EXCHANGES=$(HOSTILE_EXCHANGES) HOSTILE_SEED=$(HOSTILE_SEED) $(BIN)/python -m pytest tests/hostile -s -q

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What labmon costs, beside limits and peers; how to read it: docs/performance.md. Needs mosquitto (`make servers`).
bench: $(VENV)/.tested
	$(BIN)/python -m bench.table $(BENCH_ARGS)

# Mosquitto, InfluxDB behind nginx, VictoriaMetrics: by apt where that may be, else it says what to install.
servers:
	sh tests/servers/install.sh

# What goes to a gateway without a checkout: the wheel, and beside it the command that installs it.
wheel: $(VENV)/bin/python
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	cp systemd/install.sh dist/

# The same as a Debian package: dist/labmon_VERSION_ARCH.deb. Needs dpkg-dev and debhelper, and no root.
deb:
	sh systemd/build-deb.sh

# Pins and hashes of everything that `pip install --require-hashes -r requirements.lock` puts on a gateway. What is pinned
# stays where it fits pyproject.toml; LOCK_ARGS=--upgrade, or --upgrade-package NAME, takes later versions.
lock: $(TOOLS)/.installed
	$(TOOLS)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --quiet $(LOCK_ARGS) --output-file requirements.lock pyproject.toml

# The bill of materials of what requirements.lock installs, from an environment that holds just that.
SBOM := dist/labmon.cdx.json
sbom: $(SBOM)
$(SBOM): $(TOOLS)/.installed requirements.lock
	rm -rf $(TOOLS)/locked
	$(PYTHON) -m venv --without-pip $(TOOLS)/locked
	$(TOOLS)/bin/python -m pip --python $(TOOLS)/locked install --quiet --require-hashes -r requirements.lock
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
	  --output-file $@ $(TOOLS)/locked
	@echo $@

licences: $(SBOM) $(VENV)/.tested
	$(BIN)/python tests/test_licences.py $(SBOM)

$(TOOLS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(TOOLS)/bin/python -m pip install --quiet --group release
	touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "labmon needs Python 3.11 or later: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "python3-venv is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group test
	touch $@

clean:
	rm -rf $(VENV) $(TOOLS) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
