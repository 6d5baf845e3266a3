# The commands that people type. `make run` and `make test` set up what they need.

VENV := .venv
PYTHON ?= python3
FILE ?= examples/hello.py
MINUTES ?= 20
JOBS ?= 2# tests side by side: most of their time is waiting, on two cores too
STAMP := $(VENV)/.installed
TESTS_STAMP := $(VENV)/.installed-with-tests

.PHONY: run test corpus soak check bench peers clean

run: $(STAMP)
	$(VENV)/bin/pool run $(FILE)

test: $(TESTS_STAMP)
	$(VENV)/bin/python -m pytest tests -n $(JOBS)

# The attack corpus, and docs/corpus.md from what was seen.
corpus: $(TESTS_STAMP)
	$(VENV)/bin/python -m tests.security.table

soak: $(TESTS_STAMP)
	$(VENV)/bin/python -m pytest tests -m soak --minutes $(MINUTES)

check: $(TESTS_STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: $(TESTS_STAMP)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[bench]'
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
	$(VENV)/bin/python -m bench.chat
	$(VENV)/bin/python -m bench.sessions
	$(VENV)/bin/python -m bench.fuzz

# TorchRL's own tests, of a checkout, against ours.
peers: $(TESTS_STAMP)
	$(VENV)/bin/python tests/peers/run_torchrl.py "$(TORCHRL_SRC)"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "interpreter-pool needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "this Python has no venv; install it (apt install python3-venv) or name another: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e .
	@touch $(STAMP)

$(TESTS_STAMP): $(STAMP)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[test]'
	@touch $(TESTS_STAMP)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
