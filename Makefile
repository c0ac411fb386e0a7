# Two commands: `make demo` restores three photographs, `make test` checks everything. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How many processes test at once, each on a core of its own.
WORKERS ?= 2

# Some machines tell Python not to keep what it compiles; every process of the tests would then compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint clean

demo: $(VENV)/.ready
	$(BIN)/python demo/run.py out

test: $(VENV)/.ready-dev lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not alone'
	$(BIN)/python -m pytest -m alone

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

# Without --no-compile, pip compiles every module of torch and others, of which few are ever imported.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev]'
	touch $(VENV)/.ready $@

clean:
	rm -rf $(VENV) out
