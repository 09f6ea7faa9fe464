# make demo   one answered question, from nothing but Python 3.11+ and a C++ compiler
# make test   everything CI runs: lint, types, unit, golden and end-to-end tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

DEMO_IMAGE    := examples/shapes.png
DEMO_QUESTION := What colour is the star?

.PHONY: demo test lint types unit golden e2e starter train-extractor train-reasoner format clean
.DELETE_ON_ERROR:

demo: $(RUNTIME)
	$(BIN)/edge-et ask $(DEMO_IMAGE) "$(DEMO_QUESTION)" --stats

test: lint types unit golden e2e

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

unit: $(DEV)
	$(BIN)/pytest tests/unit

golden: $(DEV)
	$(BIN)/pytest tests/golden

e2e: $(DEV)
	$(BIN)/pytest tests/e2e

# Makes the embedded pair again from its seed: about 150 minutes on two cores (tuning/README.md).
# Neither half needs the other: each trains in a process of its own on half of the cores.
STARTER := edge_et/models/starter
HALVES  := train-extractor train-reasoner
$(HALVES): train-%: $(DEV)
	$(BIN)/python -m edge_et_tuning train --out runs/starter --half $* \
		--threads $$(( ($$(nproc) + 1) / 2 ))

starter: $(DEV)
	$(MAKE) -j2 $(HALVES)
	$(BIN)/edge-et export extractor runs/starter/extractor --out $(STARTER)/extractor \
		--name starter-extractor --license MIT --force
	$(BIN)/edge-et export reasoner runs/starter/reasoner --out $(STARTER)/reasoner/reasoner.gguf \
		--type q8_0 --name starter-reasoner --license MIT --force

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# llama-cpp-python is compiled here: about seven minutes on two cores, once; pip keeps the wheel.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(DEV): pyproject.toml constraints.txt $(RUNTIME)
	$(PIP) --editable ".[export,tuning,bench,dev]"
	touch $@
