PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := quickstart,train,data,eval,analysis,serve,docs,dev
STAMP := $(VENV)/.installed
# Tools of a release, in an environment of their own: they are no part of the tested set.
RELEASE_TOOLS := cyclonedx-bom==7.5.0 pip-audit==2.10.1
RELEASE_BIN := $(VENV)/release/bin
ARGS ?=
# Several test processes share the cores; more threads in each of them only get in the way.
WORKERS ?= 2

.PHONY: venv quickstart bench test test-serve drill lint types format docs build audit sbom clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV); the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

quickstart: venv
	$(BIN)/layalign quickstart $(ARGS)

bench: venv
	$(BIN)/python benchmarks/targets.py $(ARGS)

test: venv
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-serve: venv
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/serve $(ARGS)

drill: venv
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=tests \
		$(BIN)/python tools/drill/drill.py $(ARGS)

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: venv
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

build: venv
	$(BIN)/python -m build --wheel --no-isolation

audit: $(RELEASE_BIN)
	$(RELEASE_BIN)/python tools/audit.py constraints.txt

sbom: venv $(RELEASE_BIN) $(VENV)/release/pyproject.toml
	mkdir -p dist
	$(RELEASE_BIN)/cyclonedx-py environment --pyproject $(VENV)/release/pyproject.toml \
		--mc-type library --output-reproducible --output-file dist/layalign.cdx.json $(BIN)/python

# With the version written out, which stands in the package and which cyclonedx-py does not look up.
$(VENV)/release/pyproject.toml: pyproject.toml src/layalign/__init__.py
	mkdir -p $(@D)
	sed "s/^dynamic = .*/version = \"$$($(BIN)/hatchling version)\"/" $< >$@

$(RELEASE_BIN): Makefile
	$(PYTHON) -m venv $(VENV)/release
	@$@/python -m pip install --quiet --disable-pip-version-check $(RELEASE_TOOLS)
	@touch $@

clean:
	rm -rf build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
