# Newcomers need two commands: `make demo` and `make test`. Each makes its own virtual environment (.venv) and installs
# what it needs there; system packages (a browser, a software Vulkan driver) only where they are missing and allowed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test quick conformance models memory train bench lint clean

# Tools of the environment come first: Node may live there when the system has none (scripts/node.sh).
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON := .venv/bin/python
# Two workers by default, as on CI. loadgroup keeps the browser tests in one worker, so that they share one browser.
WORKERS ?= 2
PYTEST := $(PYTHON) -m pytest -n $(WORKERS) --dist loadgroup
ARGS ?=

help:
	@echo "make demo         read the text of a photo natively and in the browser"
	@echo "make test         every test, strictly: a missing browser, Node or GPU adapter fails"
	@echo "make quick        the tests that need no browser, GPU, Node or system package (2 minutes)"
	@echo "make conformance  ONNX's own operator tests on every target; writes docs/conformance.md"
	@echo "make models       real pretrained networks against their own runtimes; writes docs/models.md"
	@echo "make memory       ten thousand runs and two hundred loads: memory stays flat; writes docs/memory.md"
	@echo "make train        train on real data, and resume after 20 kills; writes docs/training.md"
	@echo "make bench        measure against peers; writes docs/benchmarks.md"
	@echo "make lint         ruff and mypy"
	@echo "ARGS='...' is passed on, for example: make quick ARGS='-k conv'"

demo:
	@scripts/venv.sh demo
	@scripts/demo_packages.sh
	@.venv/bin/hither demo $(ARGS)

test:
	@scripts/system_packages.sh chromium vulkan
	@scripts/venv.sh test
	@scripts/node.sh
	@HITHER_STRICT=1 $(PYTEST) tests -m "not models" $(ARGS)

quick:
	@scripts/venv.sh test
	@$(PYTEST) tests -m "not slow and not browser and not gpu and not node" $(ARGS)

conformance:
	@scripts/system_packages.sh vulkan
	@scripts/venv.sh test
	@scripts/node.sh
	@HITHER_STRICT=1 $(PYTHON) -m tests.conformance $(ARGS)

models:
	@scripts/system_packages.sh chromium vulkan
	@scripts/venv.sh test
	@scripts/node.sh
	@HITHER_STRICT=1 $(PYTEST) tests/test_models.py tests/test_models_tflite.py tests/test_models_keras.py \
		tests/test_ready_models.py tests/test_small_models.py $(ARGS)
	@$(PYTHON) -m tests.test_models

memory:
	@scripts/system_packages.sh chromium vulkan
	@scripts/venv.sh test
	@$(PYTHON) -m tests.memory $(ARGS)

train:
	@scripts/venv.sh test
	@$(PYTHON) -m pytest tests/test_training_files.py tests/test_layer_gradients.py $(ARGS)
	@$(PYTHON) -m tests.training

bench:
	@scripts/system_packages.sh chromium vulkan
	@scripts/venv.sh bench
	@scripts/node.sh bench/js
	@$(PYTHON) -m bench $(ARGS)

lint:
	@scripts/venv.sh test
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

clean:
	rm -rf .venv build dist out tests/js/node_modules bench/js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
