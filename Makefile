# Everything a newcomer needs: `make demo`, `make test`, `make check`.
# PYTHON picks the interpreter that makes the environment; VENV says where it lies.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
WITH = -c constraints.txt

.PHONY: help demo test check lint bench bench-cost schema clean

help:
	@echo "make demo    install the runtime into $(VENV) and run the synthetic procedure"
	@echo "make test    install what the tests need and run them all"
	@echo "make check   format, lint, types, tests"
	@echo "make bench   every stage on its own, timed by pytest-benchmark and saved"
	@echo "make bench-cost  CPU cost against the plain loop and the floor (five to ten minutes)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	  f"wanted Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}; make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

# The stamps remember what was installed last, so that a second call starts at once.
$(VENV)/runtime.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the runtime into $(VENV) ..."
	$(PIP) install $(WITH) -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing runtime, training and test packages into $(VENV) ..."
	$(PIP) install $(WITH) -e ".[training,cpu-fast,archive,dev]"
	@touch $@ $(VENV)/runtime.stamp

demo: $(VENV)/runtime.stamp
	$(BIN)/scopeline demo

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

check: lint test

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/dev.stamp
	$(BIN)/python -m pytest bench --benchmark-autosave

bench-cost: $(VENV)/dev.stamp
	$(BIN)/scopeline bench cost

schema: $(VENV)/runtime.stamp
	$(BIN)/python -m scopeline.wire_schema > docs/wire.schema.json

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
