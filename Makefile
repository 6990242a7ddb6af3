# The same commands for newcomers, for maintainers and for CI.

PYTHON ?= python3
VENV := .venv
LOCALSTACK := .venv-localstack
VERSIONS := .venv-versions
PEERS := .venv-peers
AUDIT := .venv-audit
LOWEST := .venv-lowest
CONTRACT := .venv-contract
BIN := $(VENV)/bin
NUMERICS := python -c 'import numpy, scipy; print(numpy.__version__, scipy.__version__)'
# Half of the tests' time is waiting for other processes: one more of pytest's than there are cores.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PARALLEL = -n $(WORKERS) --dist worksteal
# Of what is installed a part is imported: that is compiled then, and not all of it here.
INSTALL := -m pip --quiet --disable-pip-version-check install --no-compile
PLUGINS := twap reserve_price max_return pitchlake_journal
EXAMPLES := auction bootstrap gas_use payout quote_average signed_feed volatility webhook
PROJECTS := pyproject.toml $(PLUGINS:%=plugins/%/pyproject.toml)
EDITABLE := -e .[pages] $(PLUGINS:%=-e plugins/%)
# What touches other libraries: databases, queues, HTTP, commands, numbers; and a whole service.
LOWEST_TESTS := plugins/twap plugins/max_return plugins/pitchlake_journal \
  plugins/reserve_price/tests/test_reserve_price_plugin.py tests/web tests/serialization/test_converter.py \
  tests/cli/test_command_line.py tests/queues/sqs/test_queue.py tests/chain/sources/test_node.py \
  tests/chain/test_rlp_header.py tests/database/test_database.py tests/database/test_migrations.py \
  tests/chain/test_store.py tests/seals/test_keys.py tests/verification/test_verifier.py \
  tests/kit/test_parts_for_tests.py

.PHONY: help demo test coverage test-pages test-contract test-slow test-growth test-localstack test-versions test-lowest faults abuse load walk lint audit environments format bench bench-growth bench-incapable migrations schemas clean

help: ## List the commands.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(VENV)/.run ## Install, load 90 simulated days, start, submit a job group, show its three results (STAY=1 stays up).
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev ## Install and run all tests.
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

# Tracing doubles what the tests compute, and nothing is decided by what it finds.
coverage: $(VENV)/.dev ## Run all tests and say which lines none of them reaches.
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered $(ARGS)

# Debian's browser where it can be had; the tests say what is missing.
test-pages: $(VENV)/.dev ## Run the tests of the pages in Chromium; screenshots are in page-artefacts.
	@[ -n "$$CHROMIUM" ] || command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y -qq chromium; } || true
	$(BIN)/python -m pytest -m browser tests/pages $(ARGS)

test-contract: $(VENV)/.dev $(CONTRACT)/.ready ## Call a running service as its OpenAPI document says, and as it does not (REQUESTS=100).
	PYTHONPATH=tests/support $(BIN)/python tests/contract/contract_run.py $(CURDIR)/$(CONTRACT)/bin/schemathesis $(REQUESTS)

test-slow: $(VENV)/.dev ## Run what takes minutes and rarely breaks.
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

test-growth: $(VENV)/.dev ## Look at the plans of all statements with a million ended jobs and eight million headers.
	$(BIN)/python -m pytest -m slow tests/database/test_growth.py $(ARGS)

test-localstack: $(VENV)/.dev ## Install LocalStack beside it and run the tests that need it.
	-@$(MAKE) --no-print-directory $(LOCALSTACK)/.ready
	$(BIN)/python -m pytest -m localstack $(ARGS)

# The newest ones are most often those that `make test` has run with: then once is enough.
test-versions: $(VERSIONS)-lowest/.ready $(VERSIONS)-newest/.ready ## Run what depends on numpy and scipy with the lowest and newest versions.
	$(BIN)/python -m pytest -m versions tests/reproducibility $(ARGS)
	$(VERSIONS)-lowest/bin/python -m pytest plugins/reserve_price $(ARGS)
	[ "$$($(BIN)/$(NUMERICS))" = "$$($(VERSIONS)-newest/bin/$(NUMERICS))" ] || \
	  $(VERSIONS)-newest/bin/python -m pytest plugins/reserve_price $(ARGS)

test-lowest: $(LOWEST)/.ready ## Run what touches other libraries with the lowest versions that are supported.
	$(LOWEST)/bin/pytest -o filterwarnings=default $(PARALLEL) $(LOWEST_TESTS) $(ARGS)
	$(LOWEST)/bin/python $(INSTALL) --no-deps --upgrade \
	  --target $(LOWEST)/examples $(EXAMPLES:%=./examples/%)
	PYTHONPATH=$(LOWEST)/examples $(LOWEST)/bin/pytest -o filterwarnings=default $(PARALLEL) examples $(ARGS)

faults: $(VENV)/.dev $(LOCALSTACK)/.ready ## Break everything around a running service; takes some minutes (SEED=1559).
	PYTHONPATH=tests/support $(BIN)/python tests/faults/fault_run.py $(SEED)

abuse: $(VENV)/.dev ## Ill-treat a running service from all sides for a minute (SEED=1559).
	PYTHONPATH=tests/support $(BIN)/python tests/abuse/abuse_run.py $(SEED)

# No call fails, no job is lost, memory and open files stay flat: in ten minutes, or as many seconds.
load: $(VENV)/.dev ## Use a running service in all its ways for ten minutes (SECONDS=600 SEED=1559).
	PYTHONPATH=tests/support $(BIN)/python tests/load/load_run.py $(or $(SECONDS),600) $(SEED)

walk: $(VENV)/.dev ## Install from wheels into an empty directory, start three daemons, break and mend what is around them.
	$(BIN)/python -m pytest -m walk tests/kit/test_walk.py $(ARGS)

lint: $(VENV)/.dev ## Check style, and types strictly, over the whole tree.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy conftest.py prover_framework tests benchmarks examples/*.py
	for project in $(PLUGINS:%=plugins/%) $(EXAMPLES:%=examples/%); do \
	  MYPYPATH=$$project/src:$$project/tests:examples/signed_feed/src $(BIN)/mypy $$project || exit 1; \
	done

# One of pip's installations keeps one core busy, or waits for an index.
environments: $(VENV)/.dev $(CONTRACT)/.ready $(AUDIT)/.ready $(LOWEST)/.ready $(VERSIONS)-lowest/.ready $(VERSIONS)-newest/.ready ## Install what the tests need, each apart; with --jobs=3 side by side.
	-@$(MAKE) --no-print-directory $(LOCALSTACK)/.ready

# Which weaknesses are known is asked of a server. Where there is none, that is said and no failure.
audit: $(AUDIT)/.ready ## Look for weak code, and for known weaknesses of the libraries.
	$(AUDIT)/bin/bandit --quiet --severity-level medium --configfile pyproject.toml --recursive prover_framework $(PLUGINS:%=plugins/%/src)
	@rm -f $(AUDIT)/found.json; \
	  $(AUDIT)/bin/pip-audit --progress-spinner off --disable-pip --no-deps --requirement constraints.txt \
	    --format json --output $(AUDIT)/found.json; status=$$?; \
	  if [ $$status -eq 0 ]; then \
	    echo "Not known to its server: $$(grep -o skip_reason $(AUDIT)/found.json | wc -l) libraries."; exit 0; \
	  fi; \
	  if [ -s $(AUDIT)/found.json ]; then cat $(AUDIT)/found.json; exit $$status; fi; \
	  echo "Nobody here knows which weaknesses the libraries have: pip-audit needs its server."

format: $(VENV)/.dev ## Put the code into the house's form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure beside the baseline and other systems, a quarter of an hour (ONLY="noop status").
	-@$(MAKE) --no-print-directory $(LOCALSTACK)/.ready $(PEERS)/.ready
	@PYTHONPATH=tests/support $(BIN)/python benchmarks/run.py $(ONLY) $(ARGS)

bench-growth: $(VENV)/.dev ## Measure with ten thousand, a hundred thousand and a million ended jobs and headers.
	@PYTHONPATH=tests/support $(BIN)/python benchmarks/run.py growth $(ARGS)

bench-incapable: $(VENV)/.dev ## Measure a worker that lacks a proof type, alone for a minute with jobs of it.
	@PYTHONPATH=tests/support $(BIN)/python benchmarks/incapable.py

migrations: $(VENV)/.dev ## Write the migration that the models need, if any.
	$(BIN)/tortoise -c prover_framework.database.development.CONFIG makemigrations

schemas: $(VENV)/.dev ## Write the JSON Schema of receipts that the types give.
	$(BIN)/python -m prover_framework.receipts.schemas

clean: ## Remove what the commands made.
	rm -rf $(VENV) .baseline $(CONTRACT) page-artefacts $(LOCALSTACK) $(PEERS) $(AUDIT) $(VERSIONS)-* $(LOWEST) .hardhat-* .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: constraints.txt $(PROJECTS) | $(VENV)/bin/python
	$(BIN)/python $(INSTALL) -c constraints.txt $(EDITABLE)
	@touch $@

$(VENV)/.dev: constraints.txt $(PROJECTS) | $(VENV)/bin/python
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[dev,testing]' $(PLUGINS:%=-e plugins/%)
	@touch $@ $(VENV)/.run

$(LOCALSTACK)/.ready: tests/localstack-requirements.txt
	$(PYTHON) -m venv --clear $(LOCALSTACK)
	$(LOCALSTACK)/bin/python $(INSTALL) -r $<
	@touch $@

$(CONTRACT)/.ready: tests/contract/requirements.txt
	$(PYTHON) -m venv --clear $(CONTRACT)
	$(CONTRACT)/bin/python $(INSTALL) -r $<
	@touch $@

$(AUDIT)/.ready:
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python $(INSTALL) 'bandit[toml]==1.9.4' 'pip-audit==2.10.1'
	@touch $@

$(LOWEST)/.ready: constraints-lowest.txt $(PROJECTS)
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python $(INSTALL) --no-deps -r $<
	$(LOWEST)/bin/python $(INSTALL) --no-deps $(EDITABLE)
	$(LOWEST)/bin/python -m pip check
	@touch $@

$(VERSIONS)-lowest/.ready: WANTED = $$(grep -ohE '(numpy|scipy)>=[0-9.]+' plugins/reserve_price/pyproject.toml | sed 's/>=/==/')
$(VERSIONS)-newest/.ready: WANTED = numpy scipy

# Numpy and scipy of their own; everything else is that of the environment for development.
$(VERSIONS)-%/.ready: plugins/reserve_price/pyproject.toml | $(VENV)/.dev
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python $(INSTALL) --only-binary :all: $(WANTED)
	paths='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  echo "import site; site.addsitedir('$$($(BIN)/python -c "$$paths")')" \
	  > "$$($(@D)/bin/python -c "$$paths")/shared.pth"
	@touch $@

$(PEERS)/.ready: benchmarks/peers-requirements.txt
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python $(INSTALL) -r $<
	@touch $@
