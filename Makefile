# `make demo` and `make test` need Python 3.11 and make, nothing else: they set up .venv first.
PYTHON ?= python3.11
PY := .venv/bin/python
# two processes, file by file, in the order of tests/conftest.py
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast test-processors lint bench kits clean

demo: .venv/ready  ## simulated patients, training in rounds, Table 1, report
	$(PY) -m kidney_seg.progressive

test: .venv/ready lint  ## everything that guards the project
	$(PY) -m pytest $(IN_TWO)

test-fast: .venv/ready lint  ## without what trains a network
	$(PY) -m pytest $(IN_TWO) -m "not slow"

# What rounding depends on: oneDNN's instruction set (ALL: the machine's own), TensorFlow's own kernels instead, and one
# thread; TensorFlow, JAX and ONNX Runtime have as many as the CPUs that they may use.
SETTINGS := "env ONEDNN_MAX_CPU_ISA=SSE41" "env ONEDNN_MAX_CPU_ISA=AVX2" "env ONEDNN_MAX_CPU_ISA=ALL" \
  "env TF_ENABLE_ONEDNN_OPTS=0"
NETWORK ?= network and not slow

test-processors: .venv/ready  ## what computes with a network, as other processors round; NETWORK=network: the slow ones, too
	@first=$$($(PY) -c 'import os; print(min(os.sched_getaffinity(0)))'); failed=0; \
	for setting in $(SETTINGS) "taskset -c $$first"; do \
	  echo "== $$setting"; $$setting $(PY) -m pytest -q tests -m "$(NETWORK)" || failed=1; \
	done; exit $$failed

lint: .venv/ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY:python=lint-imports) --no-logo
	@! grep -rnE -f lint/phrases.txt --include='*.py' --include='*.md' data_prep kidney_seg benchmarks docs *.md  # plain words

# make kits DOWNLOAD="--accept-license --cases 0-19" PRESET=few_patients: a trial
DATASET ?= kits23
KITS ?= kits
PRESET ?= paper
DOWNLOAD ?=
BUILD ?=
SET ?=

kits: .venv/ready  ## from nothing to Table 1 on KiTS; every stage resumes (docs/howto/kits.md)
	$(PY) -m data_prep.download $(DATASET) --out $(KITS)/data $(DOWNLOAD)
	$(PY) -m data_prep.check $(KITS)/data --jobs 2 || [ $$? = 1 ]  # 1: it found something, and says what to do
	$(PY) -m data_prep.build $(KITS)/data --cache $(KITS)/cache --jobs 2 $(BUILD)
	[ -e $(KITS)/cache/split.json ] || $(PY) -m data_prep.split $(KITS)/cache
	$(PY) -m kidney_seg.progressive --data $(KITS)/cache --out $(KITS)/run --preset $(PRESET) $(if $(SET),--set $(SET))
	$(PY) -m kidney_seg.predict $(KITS)/run $(KITS)/data --out $(KITS)/predictions --split $(KITS)/cache/split.json --part test
	$(PY) -m kidney_seg.evaluate $(KITS)/predictions $(KITS)/data --split $(KITS)/cache/split.json --part test --postprocess
	$(PY) -m kidney_seg.report $(KITS)/predictions/evaluation --truth $(KITS)/data

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
