# Two commands matter: `make serve` opens the dashboard on this folder, `make test` runs everything that CI runs.
# PYTHON=python3.13 chooses the interpreter of .venv; SERVE="--port 5007" is handed to `stratpanel serve`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST ?=
SERVE  ?=
JOBS   ?= 4

# Compiled files are kept whatever the caller's environment says: the suite starts some hundred interpreters.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: serve test lint unit bench soak browser clean
.DELETE_ON_ERROR:

serve: $(VENV)/.for-serve
	$(BIN)/stratpanel -w . serve $(SERVE)

test: lint unit

lint: $(VENV)/.for-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Three parts: what shares the cores well, what drives a browser, and what measures how soon we are back after kills.
# The folders of the latter two spare their workers the collection of all others; tests/conftest.py holds to them.
unit: $(VENV)/.for-test browser
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder -m "not browser and not chaos" $(PYTEST)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "browser" $(PYTEST) tests/dashboard tests/notebook
	$(BIN)/python -m pytest -n 1 -m "chaos" $(PYTEST) tests/chaos tests/logs

bench: $(VENV)/.for-test
	$(BIN)/python -m benchmarks

# A page open over 50 busy strategies; SOAK_S=60 for a short look.
soak: export SOAK_S ?= 600
soak: $(VENV)/.for-test browser
	$(BIN)/python -m benchmarks soak

browser:
	@.ci/ensure-chromium

$(VENV)/bin/python:
	@.ci/make-venv $(PYTHON) $(VENV)

$(VENV)/.for-serve: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[examples,calendars]'
	@touch $@

$(VENV)/.for-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[examples,calendars,notify,keyring,jupyter,dev]'
	@touch $@ $(VENV)/.for-serve

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
