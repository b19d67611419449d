PYTHON ?= python3
PY := .venv/bin/python
# Tests of `make test` that run at once, a file each: a core for two at most has been tried.
JOBS ?= 2
STAMP := .venv/.tickring-setup
SOURCES := $(shell find shm workers -name '*.pyx' -o -name '*.pxd' -o -name '*.h')

# What some tests need beside Python: without it they are skipped.
MISSING := command -v spin >/dev/null || echo "tickring: no spin, its tests are skipped: apt-get install spin"; \
	command -v promtool >/dev/null || echo "tickring: no promtool, its tests are skipped: apt-get install prometheus"

.PHONY: setup build check test test-slow test-all demo stress fuzz chaos soak quiet bench lock newest clean

setup: $(STAMP) build

# The environment, exactly what requirements.lock pins: made once, again when that changes. The editable install
# compiles nothing (TICKRING_EXT): `build` does, once, in place.
$(STAMP): pyproject.toml setup.py requirements.lock tools/dependencies.py
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "tickring: making .venv and compiling the native code, one to three minutes ..."
	@$(PY) tools/dependencies.py install run dev
	@TICKRING_EXT=none PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The native code, in place: only what changed is compiled again.
build: $(STAMP) .venv/.tickring-build
.venv/.tickring-build: $(SOURCES) $(STAMP)
	@$(PY) setup.py --quiet build_ext --inplace
	@touch $@

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

# What a newcomer runs: most tests. `test-slow` has the others, `test-all` all of them.
test: setup
	@echo "tickring: most tests, about four minutes; all of them: make test-all, about fifteen"
	@$(MISSING)
	$(PY) -m pytest -rs -m "not slow" -n $(JOBS) --dist loadfile

# The conformance checks are one process, at the end of which their table is compared with the page.
test-slow: setup
	@echo "tickring: the slow tests, about twelve minutes"
	@$(MISSING)
	$(PY) -m pytest -rs -m slow --ignore=tests/conformance -n $(JOBS) --dist loadfile
	$(PY) -m pytest -rs tests/conformance

test-all: test test-slow

demo: setup
	.venv/bin/tickring demo

# The heavy proofs; `make test-all` runs small versions of the first two.
stress: setup
	$(PY) tests/stress/run.py --full

fuzz: setup
	$(PY) -m tests.conformance.malformed
	$(PY) tools/dependencies.py install fuzz
	$(PY) tests/fuzz/decode_fuzz.py

# Every fault that we know how to make: the proxy's own tests, the defects of the field, orders never sent twice.
chaos: setup
	$(PY) -m pytest tests/faults tests/e2e tests/soak

# A worker under a fault every 10 s for MINUTES (10): does anything grow, stay down, or turn wrong?
soak: setup
	$(PY) -m tests.soak.soak --minutes $(or $(MINUTES),10) --every 10 $(if $(SEED),--seed $(SEED))

# SYMBOLS (200) of FEED (binance_spot) for MINUTES (10) under a real Prometheus: a quiet market raises no alarm.
# CHANNELS: as CHANNELS=top, instead of those that the engine has by itself.
quiet: setup
	$(PY) -m tests.quiet.market --feed $(or $(FEED),binance_spot) --symbols $(or $(SYMBOLS),200) \
		--minutes $(or $(MINUTES),10) $(if $(CHANNELS),--channels $(CHANNELS))

# All figures, or those of NAME alone: make bench NAME=decode
bench: setup
	$(PY) -m bench$(if $(NAME),.$(NAME))

# The newest versions that pyproject.toml allows, into requirements.lock.
lock:
	$(PYTHON) tools/dependencies.py lock

# The same in an environment of its own: check and tests, and which package breaks what. BOUNDS=beyond ignores the
# upper bounds, BOUNDS=oldest takes the lower ones. About half an hour.
newest: setup
	$(PY) tools/dependencies.py newest $(if $(BOUNDS),--$(BOUNDS)) $(TESTS)

clean:
	rm -rf build .venv *.egg-info
	find shm workers -name '*.so' -delete
