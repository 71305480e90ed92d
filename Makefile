# Everything a newcomer needs is `make run`; `make help` lists the rest.
# Needs a Python from 3.11 on, or uv; the environment is built in .venv from hashed locks.

.DEFAULT_GOAL := help
.PHONY: help run test up local bench crash install install-dev check logs down seed clean lock

RECLAMO := .venv/bin/reclamo
PYTHON := .venv/bin/python
COMPOSE := docker compose

# Given as arguments of make only (`make run PORT=9000`): a HOST or PORT that happens to stand in
# the environment belongs to something else.
given = $(if $(filter command,$(firstword $(origin $1))),$2 "$($1)")
RUN_OPTIONS = $(call given,HOST,--host) $(call given,PORT,--port) $(call given,DATA,--data-dir)

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  run and local take HOST= PORT= DATA=, run SEED=none too; test and bench take ARGS='...'"

run: install ## start everything in one process, with demo data
	@exec $(RECLAMO) up --embedded --seed $(if $(SEED),$(SEED),demo) $(RUN_OPTIONS)

PURE_TESTS = $(wildcard tests/*/test_domain.py tests/*/test_saga.py tests/*/test_values.py)

test: install-dev ## run the whole suite in three processes, quick tests first
	@$(PYTHON) -m pytest -n 3 --dist loadgroup $(ARGS)

check: install-dev ## format, lint, types, imports, house laws, contracts, pure tests (under 30 s)
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	.venv/bin/lint-imports --no-logo
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q tests/house tests/contracts $(PURE_TESTS)

crash: install-dev ## kill everything everywhere and audit (CRASH=full takes hours)
	@$(PYTHON) -m tests.crash $(if $(CRASH),$(CRASH),quick) $(ARGS)

up: install .env ## start every service in its own container
	$(COMPOSE) up --build --detach --wait
	@$(COMPOSE) port gateway 8080 | sed 's|^|Reclamo answers on http://|'

.env:
	@umask 077 && $(RECLAMO) keygen >$@.new && mv $@.new $@
	@echo "New secrets were written to $@ (readable by you alone), an admin token among them."

logs: ## follow the logs of the containers
	$(COMPOSE) logs --follow --tail 100

down: ## stop the containers; their data stays
	$(COMPOSE) down

local: install ## start every service as its own process, with private PostgreSQL and RabbitMQ
	@exec $(RECLAMO) local $(RUN_OPTIONS)

bench: install ## measure speed, cost and memory of both modes (FULL=1: with history and soak)
	@$(RECLAMO) bench $(if $(FULL),--history 100000 --soak-minutes 30) $(ARGS)

seed: install ## load the demo data into a running system
	@$(RECLAMO) seed demo

install: ## build .venv from the locks, if they changed
	@deploy/install.sh base

install-dev:
	@deploy/install.sh dev

LOCK = $(or $(shell command -v uv),.venv/bin/uv) pip compile --quiet --generate-hashes --universal \
	--python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links

lock: install-dev ## resolve requirements/*.in anew (UPGRADE=1: to the newest versions)
	$(LOCK) $(if $(UPGRADE),--upgrade) requirements/base.in -o requirements/base.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) requirements/dev.in -c requirements/base.txt \
		-o requirements/dev.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) requirements/uv.in -o requirements/uv.txt

clean: ## remove .venv and caches; the data in .data stays
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
