# Python 3.11, 3.12 or 3.13 and make are enough: every target sets up what it needs in .venv first.
PYTHON ?= $(or $(firstword $(foreach one,python3.11 python3.12 python3.13,\
  $(shell $(one) -c 'print("$(one)")' 2>/dev/null))),python3.11)
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# two processes, file by file, in the order of tests/conftest.py
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast test-processors test-pythons coverage lint bench kits docs lab notebooks requirements clean

demo: .venv/ready  ## simulated patients, training in rounds, Table 1, report
	$(PY) -m kidney_seg.progressive

test: .venv/test lint  ## everything that guards the project
	$(PY) -m pytest $(IN_TWO)

test-fast: .venv/test lint  ## without what trains a network, serves one, or drives a browser
	$(PY) -m pytest $(IN_TWO) -m "not slow and not system"

# What rounding depends on: oneDNN's instruction set (ALL: the machine's own), TensorFlow's own kernels instead, and one
# thread; TensorFlow, JAX and ONNX Runtime have as many as the CPUs that they may use.
SETTINGS := "env ONEDNN_MAX_CPU_ISA=SSE41" "env ONEDNN_MAX_CPU_ISA=AVX2" "env ONEDNN_MAX_CPU_ISA=ALL" \
  "env TF_ENABLE_ONEDNN_OPTS=0"
NETWORK ?= network and not slow

test-processors: .venv/test  ## what computes with a network, as other processors round; NETWORK=network: the slow ones, too
	@first=$$($(PY) -c 'import os; print(min(os.sched_getaffinity(0)))'); failed=0; \
	for setting in $(SETTINGS) "taskset -c $$first"; do \
	  echo "== $$setting"; $$setting $(PY) -m pytest -q tests -m "$(NETWORK)" || failed=1; \
	done; exit $$failed

test-pythons: .venv/test  ## the wheel, with every supported Python on this machine, or PYTHONS="python3.12 ..."
	MARKS="$(MARKS)" .ci/pythons $(PYTHONS)

coverage: .venv/test  ## which lines of both packages the tests run; an hour
	$(PY) -m pytest $(IN_TWO) --cov --cov-report=term --cov-report=html:build/coverage

lint: .venv/test  ## code, words, prose, and the files that other programs read
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY:python=lint-imports) --no-logo
	@! grep -rnE '^(<{7}|>{7}|={7})( |$$)' --exclude-dir=__pycache__ data_prep kidney_seg benchmarks tests docs notebooks Makefile *.md *.txt *.yml  # rests of a merge
	@! grep -rnE -f lint/phrases.txt --include='*.py' --include='*.md' data_prep kidney_seg benchmarks docs *.md  # plain words
	.venv/bin/proselint check --config lint/proselint.json docs *.md
	.venv/bin/hadolint Dockerfile
	.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	.venv/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml

# make kits DOWNLOAD="--accept-license --cases 0-19" PRESET=few_patients: a trial
DATASET ?= kits23
KITS ?= kits
PRESET ?= paper
DOWNLOAD ?=
BUILD ?=
SET ?=

kits: .venv/ready  ## from nothing to Table 1 on KiTS; every stage resumes (docs/howto/kits.md)
	@echo "kits, all of KiTS: 50 GB of scans, 10 GB for the rest; training (paper): half a day to a day and a half on two cores, by estimate half an hour on an A100; a part takes less"
	$(PY) -m data_prep.download $(DATASET) --out $(KITS)/data $(DOWNLOAD)
	$(PY) -m data_prep.check $(KITS)/data --jobs 2 || [ $$? = 1 ]  # 1: it found something, and says what to do
	$(PY) -m data_prep.build $(KITS)/data --cache $(KITS)/cache --jobs 2 $(BUILD)
	[ -e $(KITS)/cache/split.json ] || $(PY) -m data_prep.split $(KITS)/cache
	$(PY) -m kidney_seg.progressive --data $(KITS)/cache --out $(KITS)/run --preset $(PRESET) $(if $(SET),--set $(SET)) || [ $$? = 1 ]  # 1: it failed, and says why
	$(PY) -m kidney_seg.predict $(KITS)/run $(KITS)/data --out $(KITS)/predictions --split $(KITS)/cache/split.json --part test
	$(PY) -m kidney_seg.evaluate $(KITS)/predictions $(KITS)/data --split $(KITS)/cache/split.json --part test --postprocess
	$(PY) -m kidney_seg.report $(KITS)/predictions/evaluation --truth $(KITS)/data

bench: .venv/bench  ## speed, beside PyTorch and plain copies
	$(PY) -m benchmarks

docs: .venv/docs  ## these pages as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo open build/site/index.html

lab: .venv/notebooks  ## the notebooks, in JupyterLab
	.venv/bin/jupyter lab notebooks

notebooks: .venv/test  ## runs the notebooks and stores their outputs
	$(PY) -m tests.support.notebooks

clean:  ## the environment and build products; runs/ holds trained models and stays
	! [ -e .venv/by_make ] && ! [ -e .venv/packages ] || rm -rf .venv
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

# Made anew for other packages; an environment that is somebody else's is not emptied.
.venv/packages: requirements.txt
	@if [ -e .venv ] && ! [ -e .venv/by_make ] && ! [ -e .venv/packages ]; then \
	  echo ".venv: not made by this Makefile, or half made; rename or remove it, and run make again" >&2; exit 2; fi
	$(PYTHON) -m venv --clear .venv && touch .venv/by_make
	$(PIP) --require-hashes --no-deps -r requirements.txt
	rm -rf .venv/lib/python3.*/site-packages/tensorflow/include  # 300 MB of headers, for operations in C++
	touch $@

.venv/ready: setup.cfg pyproject.toml .venv/packages
	$(PIP) --no-index --no-deps --no-build-isolation --editable .
	touch $@

.venv/test .venv/docs .venv/notebooks: .venv/%: requirements-%.txt .venv/packages | .venv/ready
	$(PIP) --require-hashes --no-deps -r $<
	touch $@

# PyTorch comes from where its build without CUDA is, so without hashes.
.venv/bench: requirements-bench.txt .venv/test
	$(PIP) $$(grep ^torch $<)
	$(PIP) --no-deps -r $<
	touch $@

# Exact versions with the hashes of all their files, for every Python and platform; those that the files have stay.
# On Linux and x86_64 it is TensorFlow without CUDA, a third in size. Newer ones: make requirements UPGRADE=--upgrade
UV ?= uv
LOCK = $(UV) --no-config pip compile --quiet setup.cfg build/cpu.in --override build/override.in --universal \
  --python-version 3.11.5 --generate-hashes --no-annotate --no-header $(UPGRADE)
LINUX := sys_platform == 'linux' and platform_machine == 'x86_64'

requirements:  ## writes requirements*.txt, from the ranges in setup.cfg; needs uv
	mkdir -p build
	echo "tensorflow-cpu>=2.20,<2.22 ; $(LINUX)" > build/cpu.in
	echo "tensorflow>=2.20,<2.22 ; sys_platform != 'linux' or platform_machine != 'x86_64'" > build/override.in
	echo "libclang ; python_version < '3'  # TensorFlow names it and imports it nowhere" >> build/override.in
	$(LOCK) --extra report --output-file requirements.txt
	for extra in test docs notebooks serving; do \
	  grep -v '^-r' requirements-$$extra.txt > build/$$extra.txt; \
	  $(LOCK) --constraints requirements.txt --extra report --extra $$extra --output-file build/$$extra.txt || exit 1; \
	  (echo "-r requirements.txt"; awk 'NR == FNR { have[$$0]; next } /^[a-z]/ { new = !($$0 in have) } new' \
	    requirements.txt build/$$extra.txt) > requirements-$$extra.txt; \
	done
