# What one types here; `make help` lists it.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONDA_SOURCES ?=
CUDA ?=
FACTOR ?= 20
PY ?= 3.11

.DEFAULT_GOAL := help
.PHONY: help demo benchmark test unit lint format proto pins clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## The main job for real: engine, base, channel, lock, build, check. CUDA=12.6 for the GPU image
	@$(BIN)/python -m tests.kit demo --python "$(PY)" $(if $(CUDA),--cuda "$(CUDA)")

benchmark: $(VENV)/.installed ## A 12-cell matrix with docker, bake and imgbuild, after make demo. FACTOR=20 divides sizes; CONDA_SOURCES=DIR
	@$(BIN)/python benchmarks/matrix.py --factor "$(FACTOR)" $(if $(CONDA_SOURCES),--conda "$(CONDA_SOURCES)")

test: $(VENV)/.installed-dev ## All tests: unit tests, then those on a real engine where one can be had
	@$(BIN)/python -m tests.kit up --python 3.11 --python 3.13 || echo "no kit: the engine tests will be skipped" >&2
	$(BIN)/python -m pytest -rs --numprocesses 2 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.installed-dev ## The tests that need no engine, in seconds
	$(BIN)/python -m pytest -q --numprocesses auto tests/unit tests/golden

lint: $(VENV)/.installed-dev ## ruff, mypy --strict, the import contract, the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/zizmor --offline --quiet --no-progress .github

format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.installed-dev ## Generate builder/proto from buildkit.proto
	cd builder/proto && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. buildkit.proto

pins: $(VENV)/.installed-dev ## Pin what the workflow installs, by hash, in .github/requirements.txt
	echo hatchling | $(BIN)/uv pip compile --quiet pyproject.toml - --extra sign --extra sigstore --universal --python-version 3.11 \
	    --upgrade --generate-hashes --no-header --no-annotate --output-file .github/requirements.txt > /dev/null

clean: ## Remove the virtual environment and tool caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	    || { echo "no Python with venv here: apt-get install python3-venv (3.11 or newer), or set PYTHON" >&2; exit 1; }
	@echo "installing imgbuild into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
