# Everything a fresh machine needs is python3 >= 3.11, pip and make. Recipes use
# relative paths only, so that a checkout may stand in a folder with spaces.

VENV   := .venv
PY     := $(VENV)/bin/python
# The newest Python on PATH that is new enough; PYTHON=... chooses another.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
            $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
              2>/dev/null && echo $(name))))
JOBS   ?= 2
PAIRS  ?= 100000
# What is tried on a cluster and behind sentinels; more of it works, but for what a test looks
# for inside one server.
NODES     ?= tests/system/chaos/nodes/test_nodes.py \
             $(foreach name,bulk dead_letters enqueue group idempotency,tests/api/test_$(name).py) \
             $(foreach name,cancel_channel claimer cron drain gate_order gate_unique handlers keeper outcomes progress reconnect retry takeover timeout \
               versions,tests/worker/test_$(name).py) \
             tests/web/test_pages.py tests/cli/test_top.py
# A process that has no test left takes some from another.
PYTEST    := $(PY) -m pytest -q -n $(JOBS) --dist worksteal
# What is tried over every transport.
RUNTIME   := tests/api tests/broker tests/model tests/worker tests/system/faults
CONNECTED := $(RUNTIME) tests/cli tests/ops
export PYTHONPATH :=
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo picture test test-matrix test-nodes check format chaos chaos-nodes soak mutants fuzz test-rust bench bench-scale bench-masters bench-idle bench-quick bench-codec docs build clean

help:
	@echo 'make demo         index the Python standard library with two workers, kill one'
	@echo 'make picture      docs/demo.svg, drawn from a run of the demo'
	@echo 'make test         the tests, on Valkey 9 (FLOWD_TEST_SERVER=redis62|path)'
	@echo 'make test-matrix  the tests on every server there is, on uvloop, over TCP and TLS'
	@echo 'make test-nodes   the runtime on a cluster, and behind sentinels'
	@echo 'make check        black, ruff, mypy, pyright and the house tests'
	@echo 'make format       let black and ruff fix what they can'
	@echo 'make chaos        a minute of faults on real processes; every job accounted for'
	@echo 'make chaos-nodes  a minute of failovers and moved slots on each; SECONDS=600 RUNS=5'
	@echo 'make soak         ten minutes of work in one process; nothing in it may grow'
	@echo 'make mutants      put deliberate bugs into copies; the tests must catch every one'
	@echo 'make test-rust    the generated Rust structs through the crate flowd (needs cargo)'
	@echo 'make fuzz         100,000 changes of schemas; what is called compatible must be read'
	@echo 'make bench-quick  flowd and raw redis-py, in the same minute'
	@echo 'make bench        flowd and all the others, 40 minutes; ROUNDS=5 PEERS=a,b SIZE=small'
	@echo 'make bench-scale  a million jobs, twenty workers, 64 queues; SIZE=small'
	@echo 'make bench-masters what a job costs on clusters of 1, 2 and 3 masters; ten minutes'
	@echo 'make bench-idle   a hundred worker processes of 64 queues without a job; PROCESSES=10'
	@echo 'make docs         the documentation site, in dist/docs'
	@echo 'make build        sdist and wheel, the wheel tried in an empty environment'

setup: $(VENV)/ready

# Without the ensurepip of a split distribution, the pip of the system fills the venv.
$(VENV)/ready: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'flowd needs Python 3.11 or later on PATH'; exit 2; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --without-pip $(VENV)
	@if $(PY) -m pip --version >/dev/null 2>&1; \
	 then $(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'; \
	 else $(PYTHON) -m pip --python $(PY) install -q --disable-pip-version-check pip -e '.[dev]'; fi
	@touch $@

demo: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m examples.stdlib_index $(if $(URL),--url '$(URL)')

picture: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) docs/draw_demo.py

# The type checkers of tests/typing read what is generated.
test: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PYTEST) $(TESTS)

test-matrix: setup
	FLOWD_TEST_SERVER=valkey9 $(PYTEST)
	FLOWD_TEST_SERVER=redis62 $(PYTEST)
	FLOWD_TEST_SERVER=path    $(PYTEST)
	FLOWD_TEST_LOOP=uvloop    $(PYTEST)
	FLOWD_TEST_TRANSPORT=tcp  $(PYTEST) $(CONNECTED)
	FLOWD_TEST_SERVER=path FLOWD_TEST_TRANSPORT=tls $(PYTEST) $(CONNECTED)
	FLOWD_TEST_LOOP=uvloop FLOWD_TEST_SERVER=path FLOWD_TEST_TRANSPORT=tls $(PYTEST) $(RUNTIME)

# The runtime on a cluster of three masters, and behind sentinels; each starts its own.
test-nodes: setup
	FLOWD_TEST_SERVER=cluster  $(PYTEST) $(NODES)
	FLOWD_TEST_SERVER=sentinel $(PYTEST) $(NODES)

# The examples import what is generated.
check: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m black -q --check . || { echo 'black: run make format'; exit 1; }
	@$(PY) -m ruff check -q .
	@$(PY) -m mypy
	@$(PY) -m pyright --pythonpath $(PY)
	@$(PY) -m pytest -q tests/house

format: setup
	@$(PY) -m black -q .
	@$(PY) -m ruff check -q --fix .

chaos: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m tests.system.chaos
	@FLOWD_GATE_CHAOS_SECONDS=12 FLOWD_CONTROL_CHAOS_SECONDS=12 $(PY) -m pytest -q \
	  tests/system/chaos/test_gate.py tests/system/chaos/test_control.py

# Of all runs together, on a cluster and behind sentinels; each run has a seed of its own.
SECONDS ?= 60
RUNS    ?= 1
MIN_REPLICAS ?= 0

chaos-nodes: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@for place in cluster sentinel; do \
	  $(PY) -m tests.system.chaos.nodes $$place --seconds $(SECONDS) --runs $(RUNS) \
	    --min-replicas $(MIN_REPLICAS) || exit 1; done

soak: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m tests.system.chaos.soak

mutants: setup
	@$(PY) -m tests.mutants

# It fetches the crate, and compiles for half a minute.
test-rust: setup
	FLOWD_TEST_RUST=1 $(PY) -m pytest -q tests/codegen/export/test_rust.py

fuzz: setup
	@FLOWD_FUZZ_PAIRS=$(PAIRS) $(PY) -m pytest -q -s -o faulthandler_timeout=0 \
	  tests/codegen/compat/test_random.py

# A link or a name that leads nowhere is an error.
docs: setup
	@rm -rf dist/docs
	@$(PY) -m sphinx -q -W --keep-going -b html docs dist/docs
	@echo 'open dist/docs/index.html'

build: setup
	@bash .ci/wheel

# What is measured whole also goes into docs/performance.md.
ROUNDS ?= 5
SMALL  := $(if $(filter small,$(SIZE)),--small)

bench: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m benchmarks.bench --rounds $(ROUNDS) $(SMALL) \
	  $(if $(PEERS),--peers $(PEERS)) $(if $(SMALL)$(PEERS),,--docs)

bench-scale: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m benchmarks.scale $(or $(SMALL),--docs)

bench-masters: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m benchmarks.scale.masters --rounds $(ROUNDS) --docs

bench-idle: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m benchmarks.scale.idle $(if $(PROCESSES),--processes $(PROCESSES))

bench-quick: setup
	@$(PY) -m flowd_codegen schemas/ -o jobs/
	@$(PY) -m benchmarks.quick

bench-codec: setup
	@$(PY) -m benchmarks.codec
	@$(PY) -m benchmarks.codec_order

clean:
	rm -rf $(VENV) .bench dist jobs .mypy_cache .ruff_cache .pytest_cache .hypothesis
