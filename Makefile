# Every target does its own set-up: Python 3.11 or newer with pip, git and make are all that a machine needs.
# `make test ARGS="-k lru"` and `make demo ARGS="--seconds 3"` pass arguments on.

.DEFAULT_GOAL := help
.PHONY: help demo test chaos bench gates check format docs screenshot clean

VENV := .venv
RUN := $(VENV)/bin/
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
STAMP := $(VENV)/.installed
# A process for each CPU, up to four, and each file in one of them, whose tests may share servers. `ARGS="-n 0"`: only one.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(STAMP) ## the main job, live: a daemon, real servers, faults, and a verdict
	@$(RUN)invalidator demo $(ARGS)

test: $(STAMP) ## all tests, on real servers (installs those it may, see system-packages.txt)
	@scripts/system-packages
	@$(RUN)python -m pytest $(SIDE_BY_SIDE) $(ARGS)

chaos: $(STAMP) ## every promise against real faults, in an hour or two: ARGS="--short", "--only kills", "--list"
	@scripts/system-packages
	@$(RUN)python -m chaos $(ARGS)
	@[ -n "$(ARGS)" ] || $(RUN)python -m pytest tests/test_stateful.py tests/test_drill.py --sequences 500 --every-fault

bench: $(STAMP) ## what it costs, beside others: ARGS="--short", "--only ingest", "--list", "install", "--keep"
	@scripts/system-packages
	@$(RUN)python -m benchmarks $(ARGS)

gates: $(STAMP) ## latency, load, a slow network and static rules, in a minute: ARGS="--only load", "--json FILE", "--list"
	@scripts/system-packages
	@$(RUN)python -m gates $(ARGS)

check: $(STAMP) ## format, lint, rules for subscriptions, strict types and import contracts; changes nothing
	@$(RUN)ruff format --check
	@$(RUN)ruff check
	@$(RUN)flake8
	@$(RUN)mypy
	@$(RUN)lint-imports

format: $(STAMP) ## formats the code, and mends what the linter can mend
	@$(RUN)ruff format
	@$(RUN)ruff check --fix

docs: $(STAMP) ## writes again what is derived from the code: example, reference, findings, units
	@$(RUN)python -m invalidator.topology.reference
	@$(RUN)python -m invalidator.doctor.page
	@$(RUN)python -m invalidator.units
	@$(RUN)python -m chaos table
	@$(RUN)python -m benchmarks table

screenshot: $(STAMP) ## draws docs/status-page.png again, in a minute, from a daemon at work (needs chromium)
	@$(RUN)python -m tests.support.screenshot $(ARGS)

clean: ## removes the virtual environment and every cache
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again only when what is installed, or how, has changed: a second run starts at once.
$(STAMP): $(PROJECTS) constraints.txt scripts/venv
	@scripts/venv $(VENV)
	@touch $@
