PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := quickstart,train,data,eval,analysis,dev
STAMP := $(VENV)/.installed
ARGS ?=
# Several test processes share the cores; more threads in each of them only get in the way.
WORKERS ?= 2

.PHONY: venv quickstart test drill lint types format build clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV); the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

quickstart: venv
	$(BIN)/layalign quickstart $(ARGS)

test: venv
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

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

build: venv
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
