# Every target sets up what it needs, quickly when it is there. The work is in deploy/setup/.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench-slow bench-router bench-burst bench-leaks bench-scale-downs bench-packing bench-connections bench-reload bench-workers bench-dashboard
.PHONY: bench-coldstart bench-idle

setup := deploy/setup
ARGS ?=

help: ## Show these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile

demo: ## Set up all that is missing and show what Windlass does (five minutes the first time; RUNTIME=docker)
	@$(setup)/python.sh
	@RUNTIME=$(RUNTIME) $(setup)/with-engine.sh $(setup)/demo.sh

test: ## Set up all that is missing and run every test (ARGS="tests/router -k pool" for some)
	@$(setup)/python.sh dev
	@$(setup)/with-engine.sh $(setup)/test.sh $(ARGS)

check: ## Check format, style, types, imports between areas, and shell scripts
	@$(setup)/python.sh dev
	@$(setup)/check.sh

bench-slow: ## Attack the router with slowhttptest beside a normal load (six minutes; OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@$(setup)/compile.sh
	@.venv/bin/python -m windlass.bench.slow --install $(if $(OUT),--out $(OUT)) $(ARGS)

bench-connections: ## Measure a worker's memory per connection and while gigabytes pass (OUT=FILE keeps it)
	@$(setup)/python.sh dev
	@$(setup)/compile.sh
	@.venv/bin/python -m windlass.bench.connections $(if $(OUT),--out $(OUT)) $(ARGS)

bench-router: ## Measure the router beside other proxies (half an hour; OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@$(setup)/compile.sh
	@.venv/bin/python -m windlass.bench.router_bench --install $(if $(OUT),--out $(OUT)) $(ARGS)

bench-burst: ## Measure bursts of requests at zero instances (three minutes; OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@$(setup)/with-engine.sh $(setup)/bench.sh burst $(if $(OUT),--json $(OUT)) $(ARGS)

bench-packing: ## Measure how many instances are busy beside the fewest possible (OUT=FILE keeps it)
	@$(setup)/python.sh dev
	@.venv/bin/python -m windlass.bench.packing $(if $(OUT),--json $(OUT)) $(ARGS)

bench-leaks: ## Start and stop 3 000 instances and count what is left (ten minutes; OUT=FILE)
	@$(setup)/python.sh dev
	@$(setup)/with-engine.sh $(setup)/bench.sh leaks $(if $(OUT),--json $(OUT)) $(ARGS)

bench-scale-downs: ## Scale down 1 000 times and redeploy under load (fifteen minutes; OUT=FILE)
	@$(setup)/python.sh dev
	@$(setup)/with-engine.sh $(setup)/bench.sh scale_downs $(if $(OUT),--json $(OUT)) $(ARGS)

bench-reload: ## Reload the workers a hundred times under load (OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@.venv/bin/python -m windlass.bench.reloads $(if $(OUT),--out $(OUT)) $(ARGS)

bench-workers: ## Measure one router worker beside two (OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@.venv/bin/python -m windlass.bench.workers $(if $(OUT),--out $(OUT)) $(ARGS)

bench-dashboard: ## Measure the page of services with a thousand of them (OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@.venv/bin/python -m tests.deploy.dashboard.many $(if $(OUT),--out $(OUT)) $(ARGS)

bench-coldstart: ## Measure starts from zero beside docker run and others (five minutes; OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@$(setup)/missing.sh "what cold starts are measured beside" podman
	@$(setup)/with-engine.sh $(setup)/bench.sh coldstart $(if $(OUT),--out $(OUT)) $(ARGS)

bench-idle: ## Measure the CPU of 50 busy-looping instances that nobody calls (OUT=FILE keeps the figures)
	@$(setup)/python.sh dev
	@IMAGE=windlass/base $(setup)/with-engine.sh $(setup)/bench.sh idle_cpu $(if $(OUT),--out $(OUT)) $(ARGS)
