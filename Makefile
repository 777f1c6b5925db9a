# `make demo` and `make test` need Python 3.11 and make, nothing else: they set up .venv first.
PYTHON ?= python3.11
PY := .venv/bin/python
# two processes, file by file, in the order of tests/conftest.py
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast lint bench clean

demo: .venv/ready  ## simulated patients, training in rounds, Table 1, report
	$(PY) -m kidney_seg.progressive

test: .venv/ready lint  ## everything that guards the project
	$(PY) -m pytest $(IN_TWO)

test-fast: .venv/ready lint  ## without what trains a network
	$(PY) -m pytest $(IN_TWO) -m "not slow"

lint: .venv/ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY:python=lint-imports) --no-logo

bench: .venv/bench  ## speed, beside PyTorch and plain copies
	$(PY) -m benchmarks

clean:  ## the environment and build products; runs/ holds trained models and stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

.venv/ready: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.venv/bench: .venv/ready requirements-bench.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@
