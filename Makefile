# meterport: everything a developer runs. `make` or `make help` lists the targets.
.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

PY := .venv/bin/python

# make's own variables, each may be given on the command line
ARGS ?=
PYTEST_ARGS ?=
PORT ?=
CHIP ?=
MICROPYTHON_BIN ?=
UPGRADE ?=
DAYS ?= 1
BOARD ?=
VARIANT ?=
MICROPYTHON ?=
IMAGE_IN ?=
IMAGE ?=
WIFI ?=
SEED ?=

# These are text, not code: make does not expand them, and recipes read them as variables of the shell, in quotes. A
# network may be named $(reboot).
TEXTS = PORT CHIP MICROPYTHON_BIN DAYS BOARD VARIANT MICROPYTHON IMAGE_IN IMAGE WIFI SEED
$(foreach name,$(TEXTS),$(eval override $(name) := $$(value $(name)))$(eval export GIVEN_$(name) := $$(value $(name))))

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv:  ## .venv with every tool, from tools/requirements.lock (the other targets see to it)
	@sh tools/bootstrap.sh

.PHONY: sim
sim: venv  ## the gateway and virtual meters on this machine; ARGS="--help" for more
	@exec $(PY) -m tools.sim $(ARGS)

# These fill the cores; a test of a whole gateway mostly waits.
COMPUTING = host_tests/codec host_tests/unit host_tests/tools host_tests/scenario
CORES := $(shell getconf _NPROCESSORS_ONLN)
SYSTEM_WORKERS = $(shell expr 2 '*' $(CORES))

# Most of the start of the tests is compiling them: what was compiled is kept, also where the environment keeps nothing.
COMPILED = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/build/pycache

.PHONY: unit
unit: venv  ## what a change of the firmware needs: codecs and units, half a minute; PYTEST_ARGS="-k listener -x"
	@exec env $(COMPILED) $(PY) -m pytest -q -n $(CORES) --dist worksteal host_tests/codec host_tests/unit $(PYTEST_ARGS)

.PHONY: test
test: venv  ## all tests; PYTEST_ARGS="-k listener -x" for some of them, host_tests/unit/test_bus.py for a file
ifeq ($(strip $(PYTEST_ARGS)),)
	@$(PY) -m tools.frozen >/dev/null || echo "tests of the frozen firmware will fail" >&2
	@failed=0; \
	$(PY) -m pytest -n $(CORES) --dist worksteal $(COMPUTING) || failed=1; \
	$(PY) -m pytest -n $(SYSTEM_WORKERS) --dist worksteal -m "not long and not timed" $(COMPUTING:%=--ignore %) || failed=1; \
	$(PY) -m pytest -m "timed and not long" $(COMPUTING:%=--ignore %) || failed=1; \
	exit $$failed
else
	@exec $(PY) -m pytest $(PYTEST_ARGS)
endif

.PHONY: check check-style check-imports check-compile check-types
check: check-style check-imports check-compile check-types  ## what needs no running; `make -k check` goes through all
check-style: venv  ## ruff, and its format
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
.PHONY: format
format: venv  ## ruff's layout for every file
	@exec $(PY) -m ruff format --quiet .
check-imports: venv  ## who may import whom (tools/check_imports.py)
	@$(PY) -m tools.check_imports
check-compile: venv  ## MicroPython's compiler over every device file
	@$(PY) -m tools.build --check
check-types: venv  ## mypy with the ports' stubs
	@$(PY) -m tools.typecheck

.PHONY: build
build: venv  ## build/device, the tree as it goes on a board; ARGS="--source" for uncompiled modules
	@exec $(PY) -m tools.build $(ARGS)

.PHONY: image
image: venv  ## MicroPython with the firmware within: BOARD=METERPORT_PICO2_W MICROPYTHON=path [IMAGE_IN=docker]
	@exec $(PY) -m tools.image $${GIVEN_BOARD:+--board="$$GIVEN_BOARD"} $${GIVEN_VARIANT:+--variant="$$GIVEN_VARIANT"} \
	    $${GIVEN_MICROPYTHON:+--micropython="$$GIVEN_MICROPYTHON"} $${GIVEN_IMAGE_IN:+--in="$$GIVEN_IMAGE_IN"} $(ARGS)

.PHONY: flash
flash: venv  ## an image onto a board: IMAGE=file PORT=/dev/ttyUSB0 [BOARD=wt32-eth01] [WIFI=ssid] [ARGS="--config FILE"]
	@exec $(PY) -m tools.device flash --port="$$GIVEN_PORT" --image="$${GIVEN_IMAGE:-$$GIVEN_MICROPYTHON_BIN}" \
	    $${GIVEN_CHIP:+--chip="$$GIVEN_CHIP"} $${GIVEN_BOARD:+--board="$$GIVEN_BOARD"} \
	    $${GIVEN_WIFI:+--wifi="$$GIVEN_WIFI"} $(ARGS)

.PHONY: deploy
deploy: venv  ## the firmware onto a board that has MicroPython: PORT=/dev/ttyUSB0
	@exec $(PY) -m tools.device deploy --port="$$GIVEN_PORT" $(ARGS)

.PHONY: repl
repl: venv  ## the board's prompt: PORT=/dev/ttyUSB0
	@exec $(PY) -m tools.device repl --port="$$GIVEN_PORT" $(ARGS)

.PHONY: logs
logs: venv  ## the board's console, while the firmware runs: PORT=/dev/ttyUSB0
	@exec $(PY) -m tools.device logs --port="$$GIVEN_PORT" $(ARGS)

.PHONY: backup
backup: venv  ## the board's data, passwords included, into a new folder: PORT=/dev/ttyUSB0 ARGS="--out DIR"
	@exec $(PY) -m tools.device backup --port="$$GIVEN_PORT" $(ARGS)

.PHONY: bundle
bundle: venv  ## build/meterport-VERSION.zip: the images of build/images with sums, examples, licence
	@exec $(PY) -m tools.bundle $(ARGS)

.PHONY: web-installer
web-installer: venv  ## a page that flashes an ESP32 from a browser: ARGS="--image FILE --image FILE"
	@exec $(PY) -m tools.device web-installer $(ARGS)

.PHONY: soak
soak: venv  ## days of simulated life: DAYS=30 SEED=1 ARGS="--profile picow-16"
	@exec $(PY) -m tools.soak --days="$$GIVEN_DAYS" $${GIVEN_SEED:+--seed="$$GIVEN_SEED"} $(ARGS)

.PHONY: emulate
emulate: venv  ## the firmware on an emulated RP2040 with real lwIP and virtual meters; ARGS="--help" for more
	@exec $(PY) -m tools.emulator $(ARGS)

.PHONY: emulated
emulated: venv  ## the tests on the emulated RP2040 (the first run builds MicroPython)
	@for image in "--files --tcp-pcbs 5" "--files" "--tcp-pcbs 5" "--files --ram 520" "--ram 520" ""; do $(PY) -m tools.emulator.build $$image >/dev/null || exit 1; done
	@exec $(PY) -m pytest -n 2 --dist loadfile --timeout 900 host_tests/emulated $(PYTEST_ARGS)

.PHONY: emulated-long
emulated-long: venv  ## the same with what takes too long for every day
	@$(MAKE) --no-print-directory emulated PYTEST_ARGS="-m 'long or not long' $(PYTEST_ARGS)"

.PHONY: bench
bench: venv  ## our gateway beside umodbus, microdot, pymodbus, asyncio and a bare loop; ARGS="--help" for more
	@exec $(PY) -m tools.bench $(ARGS)

.PHONY: bench-scaling
bench-scaling: venv  ## how the gateway scales, as a table and plots: ARGS="--svg FILE"
	@exec $(PY) -m tools.bench.scaling $(ARGS)

.PHONY: bench-emulated
bench-emulated: venv  ## cycles of requests on the emulated RP2040, the same on every machine; ARGS="--help" for more
	@exec $(PY) -m tools.bench.emulated $(ARGS)

.PHONY: instructions
instructions: venv  ## instructions of the interpreter for each request, by Callgrind; ARGS="--renew" keeps them
	@exec $(PY) -m tools.bench.instructions $(ARGS)

.PHONY: numbers
numbers: venv  ## heap, size of the files, and requests per second of one client
	@exec $(PY) -m tools.bench.figures $(ARGS)

.PHONY: memory
memory: venv  ## heap of each service and sum of each board, into docs/images.md
	@exec $(PY) -m tools.memory docs/images.md

.PHONY: benchmarks
benchmarks: venv  ## all of these again, into docs/benchmarks.md, its plots and README.md (half an hour, on an idle machine)
	@$(PY) -m tools.bench.figures --into docs/benchmarks.md
	@$(PY) -m tools.bench.emulated --into docs/benchmarks.md
	@$(PY) -m tools.bench --into docs/benchmarks.md
	@$(PY) -m tools.bench.scaling --rounds 1 --seconds 1 --json docs/img/scaling.json --svg docs/img/scaling.svg

.PHONY: docs
docs:  ## build/docs, the documents as a site; any warning or broken link is an error
	@sh tools/bootstrap.sh tools/docs.lock build/docs-venv
	@NO_MKDOCS_2_WARNING=1 exec build/docs-venv/bin/python -m mkdocs build --strict --config-file tools/mkdocs.yml $(ARGS)

.PHONY: screenshots
screenshots: venv  ## docs/img/page-*.png, the pages as Chromium shows them on the simulated gateway
	@exec $(PY) -m tools.screenshots $(ARGS)

.PHONY: lock
lock:  ## renew the pinned requirements after a change in an .in file; UPGRADE=1 takes newer versions
	@test -x build/lock/bin/python || python3 -m venv build/lock
	@build/lock/bin/python -I -m pip install -qq --disable-pip-version-check 'uv>=0.9,<1'
	@for name in requirements docs stubs-esp32 stubs-rp2 emulator/node home-assistant; do \
	    [ $$name != home-assistant ] || only=--no-deps; \
	    build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	        --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $${only:-} \
	        $(if $(UPGRADE),--upgrade) $${PIP_INDEX_URL:+--default-index "$$PIP_INDEX_URL"} \
	        tools/$$name.in --output-file tools/$$name.lock > /dev/null && echo "tools/$$name.lock" || exit 1; \
	done

.PHONY: clean
clean:  ## remove everything that these targets made
	rm -rf build .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis lib/umodbus
	rm -f firmware/services/http/page.html.gz firmware/services/http/page.html firmware/services/http/page.etag
	rm -rf firmware/services/http/parts
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
