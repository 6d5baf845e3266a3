# The commands that people type. `make run` and `make test` set up what they need.

VENV := .venv
PYTHON ?= python3
FILE ?= examples/hello.py
MINUTES ?= 20
SEED ?= 0
# Where the campaign keeps what it has found so far; empty: below the cache of whoever runs it.
CORPUS ?=
# Tests side by side: most of their time is waiting, on two cores too.
JOBS ?= 2
# In long stretches of each module, so that a Ray or a pool is started once.
SIDE_BY_SIDE = -n $(JOBS) --dist worksteal
STAMP := $(VENV)/.installed
QUICK_STAMP := $(VENV)/.installed-for-quick
TESTS_STAMP := $(VENV)/.installed-with-tests
INSTALL := $(VENV)/bin/pip install -q --disable-pip-version-check -e

.PHONY: run quick test corpus soak campaign check bench peers clean

# A program in the pool: `make run FILE=snippet.py`.
run: $(STAMP)
	$(VENV)/bin/pool run $(FILE)

# The tests that find most, in under a minute; installs neither Ray nor PyTorch.
quick: $(QUICK_STAMP)
	$(VENV)/bin/python -m pytest tests --quick $(SIDE_BY_SIDE)

# Every test but the soak: a quarter of an hour, and gigabytes to install at first.
test: $(TESTS_STAMP)
	$(VENV)/bin/python -m pytest tests $(SIDE_BY_SIDE)

# The attack corpus, and docs/corpus.md from what was seen.
corpus: $(TESTS_STAMP)
	$(VENV)/bin/python -m tests.security.table

# 100,000 programs a tier while processes are killed, and all suites on all imitated hosts.
soak: $(TESTS_STAMP)
	$(VENV)/bin/python -m pytest tests -m soak --minutes $(MINUTES)

# Fuzzing of system calls, hostile sessions and jails that try to meet, in slices: it goes on from
# the corpus that it keeps.
campaign: $(TESTS_STAMP)
	PYTHONPATH=tests:. $(VENV)/bin/python -m campaign --minutes $(MINUTES) --seed $(SEED) \
	  $(if $(CORPUS),--folder "$(CORPUS)")

# Format, style and types, as CI wants them.
check: $(TESTS_STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# Measures everything anew, into bench/results.
bench: $(TESTS_STAMP)
	$(INSTALL) '.[bench]'
	$(VENV)/bin/python -m bench.latency
	$(VENV)/bin/python -m bench.latency --preload numpy
	$(VENV)/bin/python -m bench.layers --preload numpy
	$(VENV)/bin/python -m bench.peers
	$(VENV)/bin/python -m bench.peers --preload numpy
	$(VENV)/bin/python -m bench.dimensions
	$(VENV)/bin/python -m bench.load
	$(VENV)/bin/python -m bench.start
	$(VENV)/bin/python -m bench.judge
	$(VENV)/bin/python -m bench.services
	$(VENV)/bin/python -m bench.scale
	$(VENV)/bin/python -m bench.chat
	$(VENV)/bin/python -m bench.sessions
	$(VENV)/bin/python -m bench.fuzz
	$(VENV)/bin/python -m bench.warm

# TorchRL's own tests against this package: `make peers TORCHRL_SRC=` a checkout of it. And the rows of
# data sets, in plain Python and here: `make peers DATASETS=` a folder of their files.
peers: $(TESTS_STAMP)
	$(if $(DATASETS),$(VENV)/bin/python tests/peers/run_datasets.py "$(DATASETS)")
	$(if $(TORCHRL_SRC)$(if $(DATASETS),,x),$(VENV)/bin/python tests/peers/run_torchrl.py "$(TORCHRL_SRC)")

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "interpreter-pool needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "this Python has no venv; install it (apt install python3-venv) or name another: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@# Once, for those whose Python keeps no bytecode: every start would compile it all again.
	@$(VENV)/bin/python -m compileall -q src sandbox pool registry transforms
	@touch $(STAMP)

$(QUICK_STAMP): $(STAMP)
	$(INSTALL) '.[quick]'
	@touch $(QUICK_STAMP)

$(TESTS_STAMP): $(STAMP)
	$(INSTALL) '.[test]'
	@touch $(TESTS_STAMP)

# Away with all that the others have made.
clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
