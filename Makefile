# StyleAlign: what a person types. `make demo` and `make test` work from a fresh clone.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help venv demo results bench test test-slow lint format clean
.DEFAULT_GOAL := help

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')"

venv: $(STAMP)  ## Make .venv with the exact versions of constraints.txt.

$(STAMP): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip check
	touch $@

demo: $(STAMP)  ## Run the whole pipeline on the shipped parent and the procedural domains, in minutes.
	$(BIN)/stylealign demo

results: $(STAMP)  ## The longer runs behind docs/results.md: the first 33 minutes, all about 13 hours, resumable.
	$(BIN)/python -m benchmarks.results
	$(BIN)/python -m benchmarks.recipes
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_images.yaml --seeds 1
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_images_demo.yaml
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_images_long.yaml --seeds 1
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_images_100.yaml --seeds 1
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_images_auto.yaml --seeds 2
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_images_auto_long.yaml --seeds 2
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/feature_weight.yaml --seeds 2
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/num_images.yaml --seeds 1
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/few_shot.yaml --seeds 1
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/control.yaml --seeds 1
	$(BIN)/python -m benchmarks.recipes --settings benchmarks/with_correspondence.yaml --seeds 1
	$(BIN)/python -m benchmarks.kept_snapshot --total-kimg 40
	@echo "figures: build/results/metrics/*.json, report: build/results/artifacts/report/index.html,"
	@echo "tables of recipes: printed above, runs in build/recipes/"

bench: $(STAMP)  ## Time the networks against peers: make bench PEERS=DIR, a folder with their checkouts.
	@test -n "$(PEERS)" || { echo "name the folder of the checkouts: make bench PEERS=DIR"; exit 2; }
	$(BIN)/python -m benchmarks.peers --peers "$(PEERS)"

test: $(STAMP)  ## The quick suite: laws, golden data, one real pass of each flow.
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

test-slow: $(STAMP)  ## The slow suite: schedules, kill tests, several processes, long runs.
	$(BIN)/python -m pytest -m "slow and not gpu and not network" --timeout 1800

lint: $(STAMP)  ## Style, types, layers, spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMP)  ## Let ruff mend what it can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove tool caches; data, models and records stay.
	rm -rf .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -type d -exec rm -rf {} +
