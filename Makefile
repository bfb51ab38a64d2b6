# Two commands do all the set-up: `make demo` and `make test`.
# Everything lands in .venv/ and target/; the model in the user's cache.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WHEELS := $(VENV)/wheels/bin
STAMP  := $(VENV)/.stamps
CARGO  := cargo
# pip may be told by the environment where packages are; it is never told here.
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# Release everywhere: another profile would build llama.cpp once more.
CPU_ENV := eval "$$(cpu-runtime/build_env.sh $(VENV))"

ABI_VERSIONS := v1_0_1 v1_1_0 v1_2_0 v1_2_1 v1_3_0 v1_3_1
FAKES        := $(foreach v,$(ABI_VERSIONS),-p fake-rkllm-$(v))

CORE_SOURCES := Cargo.toml Cargo.lock pyproject.toml build.rs README.md \
	$(shell find src crates data python -type f -not -name '*.pyc')
CPU_SOURCES  := Cargo.lock $(shell find cpu-runtime -type f -not -path '*/lib/*' -not -name '*.pyc') \
	$(shell find crates -type f)
FAKE_SOURCES := Cargo.lock $(shell find crates/ffi tests/fake_rkllm -type f)

.DEFAULT_GOAL := help
# A link that leads nowhere, or to a heading that is not there, is a warning of Sphinx: -W makes it fail.
DOCS := target/docs

.PHONY: help demo test docs lint lint-rust lint-python test-rust test-python test-clients test-workers interleavings soak soak-text bench build wheels cpu-wheels test-arm test-arm-quick lock clean fuzz asan tsan valgrind test-free-threaded

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

demo: build ## Run a real small model on the CPU runtime and stream its answer
	@$(BIN)/python examples/demo.py "$$($(BIN)/python scripts/fetch_model.py)"

test: lint test-rust test-python ## All checks and tests

build: $(STAMP)/package $(STAMP)/cpu ## Package and CPU runtime, release build, into .venv

$(STAMP)/tools: requirements/build.txt scripts/bootstrap.sh
	@PYTHON="$(PYTHON)" scripts/bootstrap.sh $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements/build.txt
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/dev: requirements/dev.txt $(STAMP)/tools
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(STAMP)/lint: requirements/lint.txt $(STAMP)/tools
	$(PIP) install --quiet --require-hashes -r requirements/lint.txt
	@touch $@

# pip hides what cargo says: what takes long is announced, and llama.cpp is built before pip is asked.
$(STAMP)/package: $(CORE_SOURCES) $(STAMP)/tools
	@echo "building the package, for the first time 1 to 2 minutes ..."
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@

CPU_LIBRARY := $(CURDIR)/cpu-runtime/python/rkllm_rs_cpu/lib/librkllmrt_cpu.so

$(STAMP)/cpu: $(CPU_SOURCES) $(STAMP)/tools
	@echo "building the CPU runtime, for the first time 2 to 4 minutes, most of them llama-cpp-sys-2 ..."
	cpu-runtime/build.sh $(VENV)
	RKLLM_RS_CPU_PREBUILT="$(CPU_LIBRARY)" PATH="$(CURDIR)/$(BIN):$$PATH" \
	$(PIP) install --quiet --no-build-isolation --no-deps --force-reinstall ./cpu-runtime
	@touch $@

lint: lint-rust lint-python lint-types ## Formatting and lints, as errors

lint-rust: $(STAMP)/dev
	@scripts/rust_lints.sh $(CARGO) || { [ $$? -eq 3 ] && exit 0; exit 1; }; set -ex; \
	$(CARGO) fmt --all --check; \
	$(CARGO) clippy --locked --all-targets -p rkllm_rs -p rkllm-clock -p rkllm-digest -p rkllm-ffi -p rkllm-text $(FAKES) -p fake-rkllm -- -D warnings; \
	$(CARGO) clippy --locked --lib -p rkllm_rs --features abi3 -- -D warnings; \
	$(CARGO) clippy --locked --lib -p rkllm_rs --features python -- -D warnings; \
	$(CPU_ENV); \
	$(CARGO) clippy --locked --release --all-targets -p rkllm-cpu-runtime -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --quiet --no-deps -p rkllm_rs -p rkllm-clock -p rkllm-digest -p rkllm-ffi -p rkllm-text

lint-python: $(STAMP)/dev $(STAMP)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/floors.py
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/actionlint
	$(BIN)/hadolint docker/Dockerfile

# The package as it is installed: stubtest imports it. basedpyright runs Node, which comes with it.
lint-types: $(STAMP)/dev $(STAMP)/package
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest rkllm_rs --mypy-config-file pyproject.toml --allowlist tests/typing/stubtest.txt
	$(BIN)/python -m basedpyright --warnings --pythonpath $(BIN)/python

test-rust: $(STAMP)/dev ## Rust unit tests, documentation examples, and the core without Python
	$(CARGO) build --locked --release $(FAKES)
	PATH="$(CURDIR)/$(BIN):$$PATH" \
	RKLLM_RS_FAKES="$(CURDIR)/target/release" $(CARGO) test --locked -p rkllm_rs -p rkllm-clock -p rkllm-digest -p rkllm-ffi -p rkllm-text -p fake-rkllm
	$(CPU_ENV) && $(CARGO) test --locked --release -p rkllm-cpu-runtime

# Three processes for two cores, each with its own third of the files at first: docs/developing/tests.md tells why.
PYTEST := -n 3 --dist worksteal --durations 20

test-workers: export RKLLM_RS_TEST_ISOLATE := 1
test-workers: test-python ## The Python tests once more, with every model in a worker

test-clients: $(STAMP)/dev build ## Other people's clients, each in an environment of its own; the page in Chromium; 100,000 damaged requests
	$(CARGO) build --locked --release $(FAKES)
	RKLLM_RS_FAKES="$(CURDIR)/target/release" \
	RKLLM_RS_TEST_GGUF="$$($(BIN)/python scripts/fetch_model.py)" $(BIN)/python -m pytest tests/clients
	RKLLM_RS_FAKES="$(CURDIR)/target/release" \
	RKLLM_RS_TEST_GGUF="$$($(BIN)/python scripts/fetch_model.py)" $(BIN)/python scripts/test_clients.py
	RKLLM_RS_FAKES="$(CURDIR)/target/release" $(BIN)/python scripts/several_boards.py
	RKLLM_RS_FAKES="$(CURDIR)/target/release" $(BIN)/python scripts/fuzz_server.py

test-python: $(STAMP)/dev build ## pytest: the fake for every ABI version, then the real model
	$(CARGO) build --locked --release $(FAKES)
	RKLLM_RS_FAKES="$(CURDIR)/target/release" \
	RKLLM_RS_TEST_GGUF="$$($(BIN)/python scripts/fetch_model.py)" \
	$(BIN)/python -m pytest $(PYTEST) tests/python cpu-runtime/tests

$(STAMP)/docs: requirements/docs.txt $(STAMP)/tools
	$(BIN)/python -m venv $(VENV)/docs
	$(VENV)/docs/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/docs.txt
	@mkdir -p $(STAMP) && touch $@

docs: $(STAMP)/docs ## The documentation site, into target/docs; broken links fail
	$(VENV)/docs/bin/python -m sphinx --builder html --fail-on-warning --keep-going --nitpicky --quiet docs $(DOCS)
	@echo "$(DOCS)/index.html"

# A model that fails prints its schedule. How many are tried, of each of two kinds, can be said.
interleavings: export RKLLM_RS_SCHEDULES ?= 20000
interleavings: ## Places where threads meet, under many schedules (shuttle)
	$(CARGO) test --locked -p rkllm_rs --lib --features interleavings interleavings:: -- --test-threads=1

soak: $(STAMP)/dev build ## 10,000,000 tokens, 10,000 opens, 1,000 workers killed, 100,000 requests to a server; what has grown (SOAK="--shorter 100")
	$(CARGO) build --locked --release $(FAKES)
	RKLLM_RS_FAKES="$(CURDIR)/target/release" $(BIN)/python scripts/soak.py $(SOAK)

soak-text: $(STAMP)/dev build ## Twenty random conversations, and answers in 200 schemas, of a real small model
	$(BIN)/python scripts/soak_chats.py "$$($(BIN)/python scripts/fetch_model.py)"
	$(BIN)/python scripts/soak_schemas.py "$$($(BIN)/python scripts/fetch_model.py)"
	$(BIN)/python scripts/soak_schemas.py "$$($(BIN)/python scripts/fetch_model.py)" 40 --constraint guided

fuzz: $(STAMP)/tools ## Every reader of strangers' bytes and texts, under libFuzzer and AddressSanitizer (FUZZ_SECONDS=60 each, FUZZ="elf stop")
	scripts/fuzz.sh $(FUZZ)

asan: $(STAMP)/dev build ## The Rust tests, and the Python tests on the fake, under AddressSanitizer
	$(CARGO) build --locked --release $(FAKES)
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/sanitize.sh address
	scripts/sanitize.sh python $(PYTEST) -q tests/python

tsan: $(STAMP)/tools ## The Rust tests under ThreadSanitizer, with a standard library of its own
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/sanitize.sh thread

valgrind: $(STAMP)/dev ## The C ABI of the CPU runtime under valgrind, with tiny models
	scripts/sanitize.sh valgrind

test-free-threaded: $(STAMP)/tools ## The Python tests on a CPython 3.14 without a GIL (FREE_THREADED=path/to/python3.14t)
	$(CARGO) build --locked --release $(FAKES)
	scripts/free_threaded.sh $(FREE_THREADED)

bench: $(STAMP)/dev build ## Our figures beside a floor measured in the same run
	$(CARGO) build --locked --release $(FAKES)
	RKLLM_RS_FAKES="$(CURDIR)/target/release" $(BIN)/python benches/run.py

$(STAMP)/wheels: requirements/wheels.txt $(STAMP)/tools
	$(BIN)/python -m venv $(VENV)/wheels
	$(WHEELS)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/wheels.txt
	@touch $@

wheels: $(STAMP)/wheels ## Wheels for aarch64, armv7l and x86_64 and the sdist, checked, into dist/
	scripts/wheels.sh $(VENV)/wheels
	$(WHEELS)/python scripts/check_wheels.py dist/rkllm_rs-*.whl

cpu-wheels: $(STAMP)/wheels ## Wheels of the CPU runtime for the same machines, checked, into dist/
	scripts/cpu_wheels.sh $(VENV) $(VENV)/wheels

MODULE := $(CORE_SOURCES) scripts/wheels.sh scripts/rust.sh scripts/std.toml scripts/small.toml scripts/module.map

$(STAMP)/arm: $(MODULE) $(FAKE_SOURCES) $(STAMP)/wheels
	scripts/wheels.sh $(VENV)/wheels aarch64 armv7l fakes-aarch64 fakes-armv7l
	@touch $@

$(STAMP)/arm-cpu: $(CPU_SOURCES) scripts/cpu_wheels.sh scripts/cpu_variants.sh scripts/rust.sh scripts/std.toml $(STAMP)/wheels
	scripts/cpu_wheels.sh $(VENV) $(VENV)/wheels aarch64 armv7l
	@touch $@

test-arm: $(STAMP)/arm $(STAMP)/arm-cpu ## The Python tests of both ARM wheels and the real model, under emulation
	RKLLM_RS_TEST_GGUF="$$($(BIN)/python scripts/fetch_model.py)" scripts/test_arm.sh $(VENV)/wheels

# Without the long link, which takes most of the time and which test-arm has.
QUICK := RKLLM_RS_PROFILE=fast RKLLM_RS_DIST="$(CURDIR)/target/wheels/quick"

$(STAMP)/arm-quick: $(MODULE) $(FAKE_SOURCES) $(STAMP)/wheels
	$(QUICK) scripts/wheels.sh $(VENV)/wheels aarch64 armv7l fakes-aarch64 fakes-armv7l
	@touch $@

test-arm-quick: $(STAMP)/tools ## A representative part of test-arm, where the machine can
	@reason=$$(scripts/toolchain.sh can) || { echo "test-arm-quick: NOT RUN: $$reason"; exit 0; } && \
	$(MAKE) --no-print-directory $(STAMP)/arm-quick && $(QUICK) scripts/test_arm.sh $(VENV)/wheels --quick

LOCK := uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock"

lock: ## Pin the Python tools again (needs uv on the path)
	$(LOCK) --python-version 3.10 requirements/build.in -o requirements/build.txt
	$(LOCK) --python-version 3.10 requirements/dev.in -o requirements/dev.txt
	$(LOCK) --python-version 3.10 requirements/lint.in -o requirements/lint.txt
	$(LOCK) --python-version 3.10 requirements/docs.in -o requirements/docs.txt
	$(LOCK) --python-version 3.10 requirements/wheels.in -o requirements/wheels.txt
	$(LOCK) --python-version 3.11 requirements/arm.in -o requirements/arm.txt
	$(LOCK) --python-version 3.14 requirements/free-threaded.in -o requirements/free-threaded.txt
	for file in requirements/clients/*.in; do $(LOCK) --python-version 3.10 $$file -o $${file%.in}.txt || exit 1; done

clean: ## Remove what was built here
	rm -rf $(VENV) target dist
