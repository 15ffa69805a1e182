# Everything starts here, on a fresh machine with Python 3.11+: `make demo`, `make test`, `make help`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ARGS   ?=
FIGURE ?=
MODULES ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick test-avx2 chaos mutants wheel-test check bench hooks format constraints clean

help:  ## What can be made
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.demo  ## Fit a bank and watch a simulated line; ARGS="--forever", "--images DIR", "--source rtsp://..."
	$(BIN)/patchline demo $(ARGS)

test: $(VENV)/.test  ## All tests, on real services that are started and stopped; ARGS="-k NAME" for some
	./tests/services/install.sh
	$(BIN)/python -m tests.services.kafka
	$(PYTEST) $(ARGS)

test-quick: $(VENV)/.test  ## While working: what takes no slow server and not many seconds; ARGS="tests/stream" for some
	./tests/services/install.sh redis
	$(PYTEST) -m "not slow" $(ARGS)

test-avx2: $(VENV)/.test  ## The engine's tests as on a processor with AVX2 and nothing wider
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 NUMBA_CPU_NAME=haswell $(PYTEST) tests/engine $(ARGS)

chaos: $(VENV)/.test  ## What is promised while things break, at full size; FIGURE="faults" for some
	./tests/services/install.sh
	$(BIN)/python -m tests.chaos $(FIGURE) $(ARGS)

mutants: $(VENV)/.test  ## What no test notices in changed modules, MODULES="stream/pipeline/gate.py", or ARGS="--draw 60"
	./tests/services/install.sh
	$(BIN)/python -m tests.services.kafka
	$(BIN)/python -m tests.mutants $(MODULES) $(ARGS)

wheel-test: $(VENV)/.test  ## The wheel in an empty environment outside the checkout, and beside PyPI's package `ops`
	$(BIN)/python -m tests.wheel

check: $(VENV)/.dev build/src/patchline  ## Style, types, layers, and the files of deploy/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/yamllint --strict .
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/pre-commit validate-config .pre-commit-config.yaml
	./tests/services/install.sh prometheus
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules deploy/prometheus/alerts.yml
	promtool test rules deploy/prometheus/alerts_test.yml

bench: $(VENV)/.bench  ## Measure figures, beside peers, into build/bench.json; FIGURE="search coreset" for some
	$(BIN)/python -m tests.bench $(FIGURE) $(ARGS)

hooks: $(VENV)/.dev  ## Let git run the quick checks before each commit
	$(BIN)/pre-commit install

format: $(VENV)/.dev  ## Bring the code to the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: $(BIN)/uv  ## Take the newest versions of all dependencies into constraints.txt
	echo '# Every dependency by exact version, of all extras. `make constraints` writes it anew.' > constraints.txt
	$(BIN)/uv pip compile --quiet --all-extras --upgrade --python-version 3.11 --no-header --no-annotate \
		pyproject.toml >> constraints.txt

clean:  ## Remove the environment and all that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One environment for all; each extra is installed when first needed, and again when the dependencies change. Bytecode is
# written at once: where Python may not write it (PYTHONDONTWRITEBYTECODE), every start would compile it anew.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints constraints.txt --editable '.[cpu,$*]'
	@touch $@

# The import package as the type checker finds it: folders at the top are `patchline.engine` and so on.
build/src/patchline:
	mkdir -p $@
	ln -s ../../../engine ../../../stream ../../../ops $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Patchline needs Python 3.11 or newer: set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv
