# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench chaos conformance templates-report roles-report lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

# The environment is made once and again when a lock file or the project's own metadata changes.
define make_env
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $(1) into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
endef

$(VENV)/.runtime: requirements.lock pyproject.toml
	$(call make_env,requirements.lock)

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	$(call make_env,requirements-dev.lock)

demo: $(VENV)/.runtime ## run three templates on two simulated workers, pictures in demo-output/
	@$(BIN)/comfy-gateway demo

test: $(VENV)/.dev ## the whole test suite
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/.dev ## lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: $(VENV)/.dev ## the ComfyUI conformance suite over the simulator, and over COMFYUI_URL where set
	$(BIN)/python -m pytest tests/conformance

templates-report: $(VENV)/.dev ## how many official templates convert as ComfyUI's own editor converts them
	@$(BIN)/python -m tests.conformance.templates_report

roles-report: $(VENV)/.dev ## on how many official templates each role is found, against labels made by hand
	@PYTHONPATH=. $(BIN)/python tests/unit/templates/test_roles.py

bench: $(VENV)/.dev ## measure; prints a table and writes bench-results/*.json
	$(BIN)/python -m benchmarks

SEED ?= 1
SEEDS ?= 1
chaos: $(VENV)/.dev ## 2,000 jobs while workers and gateway are killed; SEEDS=10 for ten seeds, SEED=7 to replay one
	$(BIN)/python -m tests.chaos --seed $(SEED) --seeds $(SEEDS)

lock: ## resolve the ranges of pyproject.toml anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --group build --upgrade pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --group dev --upgrade pyproject.toml -o requirements-dev.lock

clean: ## remove what the other targets made
	rm -rf $(VENV) demo-output bench-results .pytest_cache .ruff_cache .import_linter_cache
