# Every target sets up what it needs in a local environment; Python >= 3.11, git and make are enough.
#
#   make demo                        install, compare the methods of `digits`, name the page that was written
#   make demo TORCH="torch==2.9.0"   the same with a build of your choice
#   make demo TORCH=none             the same with the torch that this machine's Python already has
#   make test                        the quick tests
#   make accept moments              one long acceptance run; its figures go to accept/moments.json
#   make lint, make docs-check       style, types and floors; the code of README, docs and docstrings
#   make browser                     Chromium by apt, for tests/browser, which are skipped without it

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
OUT ?= runs/digits

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# constraints.txt with the torch that is there
PINS := $(VENV)/constraints.txt

.PHONY: demo test accept lint docs-check browser clean chosen
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(VENV)/bin/coset compare digits --out $(OUT)
	@echo "report: $(OUT)/report.html"

test: $(VENV)/.dev
	$(PY) -m pytest -n 2

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs-check: $(VENV)/.dev
	$(PY) -m pytest tests/test_readme.py

browser:
	.ci/browser

WHAT :=
ifeq (accept,$(firstword $(MAKECMDGOALS)))
WHAT := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(WHAT)
$(WHAT): accept
	@:
endif

accept: $(if $(WHAT),$(VENV)/.dev)
	@test -n "$(WHAT)" || { echo "make accept WHAT, one of:" $(basename $(notdir $(sort $(filter-out %/__init__.py,$(wildcard benchmarks/accept/*.py))))); exit 2; }
	@set -e; for what in $(WHAT); do $(PY) benchmarks/accept/$$what.py --out accept; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "coset needs Python >= 3.11; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(if $(filter none,$(TORCH)),--system-site-packages) $(VENV)

# torch first, by the user's choice; then pinned as it is, so that nothing that follows replaces the build
$(VENV)/.torch: $(VENV)/bin/python constraints.txt $(if $(filter-out torch,$(TORCH)),chosen)
	@grep -v '^torch==' constraints.txt > $(PINS)
ifeq ($(TORCH),torch)
	@$(PY) -c 'import torch' 2>/dev/null || { echo "installing torch into $(VENV) (TORCH=... chooses another build)"; $(PIP) torch -c constraints.txt; }
else ifneq ($(TORCH),none)
	@echo "installing $(TORCH) into $(VENV)"
	@$(PIP) "$(TORCH)" -c $(PINS)
endif
	@$(PY) -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >> $(PINS) 2>/dev/null \
		|| { echo "TORCH=none, but this Python has no torch"; exit 2; }
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "installing coset[train,report] into $(VENV)"
	@$(PIP) -e ".[train,report]" -c $(PINS)
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "installing coset[dev] into $(VENV)"
	@$(PIP) -e ".[dev]" -c $(PINS)
	@touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
