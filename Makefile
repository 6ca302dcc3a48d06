# make demo: trains a small Llama under wsd.   make test: every check and test.   make check: lint, format, types.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
OLDEST := .overlay/oldest

.PHONY: demo test check format figures clean

demo: $(VENV)/.demo
	OMP_WAIT_POLICY=PASSIVE $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		--num_cpu_threads_per_process $$(getconf _NPROCESSORS_ONLN) recipes/pretrain.py

test: check $(OLDEST)/.done
	$(BIN)/python -m pytest --durations=15

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

figures: $(VENV)/.dev
	$(BIN)/python scripts/make_figures.py

clean:
	rm -rf $(VENV) .overlay

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first, by its own: asked for by another package, newer releases would come with gigabytes of GPU packages.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --constraint constraints.txt torch==2.13.0
	$(PIP) --constraint constraints.txt --editable '.[plot,report,recipes]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --constraint constraints.txt --editable '.[plot,report,recipes,dev]'
	touch $@

$(OLDEST)/.done: constraints-oldest.txt | $(VENV)/.dev
	rm -rf $(OLDEST)
	$(PIP) --no-deps --target $(OLDEST) --requirement constraints-oldest.txt
	touch $@
