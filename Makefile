# Two commands: `make distill export bench` runs the pipeline, `make test` tests it.  `make help` lists the targets.
RECIPE ?= scenes
DATA ?=
PYTHON ?= python3
FORCE ?=
METHODS ?=
SEEDS ?=
DEVICES ?=
THOROUGH ?=
STUDENT ?=
DEVICE ?=
MAX_P90_MS ?=
MIN_MAP ?=
MAX_MB ?=
TESTS ?=
MODEL ?=
ADVISORIES ?=
SHARE ?=
BUNDLE ?=

RUN = .venv/bin/python -m pipeline
OPTIONS = --recipe $(RECIPE) $(if $(DATA),--data "$(DATA)") $(if $(FORCE),--force $(FORCE)) $(if $(DEVICES),--devices "$(DEVICES)") $(if $(THOROUGH),--thorough)
OF = $(if $(STUDENT),--student $(STUDENT))
UV = .venv/bin/uv
# one thread a process, because the tests run in several; OpenMP's threads would fight for the cores.  Three for two cores,
# because tests of services, ssh and browsers wait
TEST_ENV = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# without compiled modules every process compiles torch again, 5 s each; container images set this
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup distill export bench report search compare choose web plan doctor fetch check test slow docs arm speed torture audit clean system lock

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo "  RECIPE=scenes (or a .yaml file), DATA=FOLDER for recipes that read your images, FORCE=STAGE to run one again"
	@echo "  DEVICES=devices.yaml to measure on other machines as well, THOROUGH=1 for ten minutes an engine"
	@echo "  STUDENT=fastest for another finalist of a search (fastest, knee, best)"
	@echo "  MAX_P90_MS=8 MIN_MAP=45 MAX_MB=10 DEVICE='Raspberry Pi 5' for the limits of choose"
	@echo "  TESTS='--cov …' adds options to pytest"

setup: .venv/.stamp  ## virtual environment with the locked packages

distill: .venv/.stamp  ## train teacher, student and baseline
	@$(RUN) distill $(OPTIONS) $(OF)

export: .venv/.stamp  ## write ONNX, engines and the bundle in dist/RECIPE
	@$(RUN) export $(OPTIONS) $(OF)

bench: .venv/.stamp  ## measure the bundle and write the report beside it
	@$(RUN) bench $(OPTIONS) $(OF)

report: .venv/.stamp  ## write the report again from the measurements
	@$(RUN) report $(OPTIONS) $(OF)

search: .venv/.stamp  ## find the student that keeps a budget on the devices, and measure it beside two others
	$(if $(STUDENT),$(error search finds the student: leave STUDENT out))@$(RUN) search $(OPTIONS)

compare: .venv/.stamp  ## train the student with every method and compare them
	@$(RUN) compare $(OPTIONS) $(if $(METHODS),--methods $(METHODS)) $(if $(SEEDS),--seeds $(SEEDS))

choose: .venv/.stamp  ## say which engine to deploy within limits, why, and the runner-up
	@$(RUN) choose --recipe $(RECIPE) $(OF) $(if $(DEVICE),--device "$(DEVICE)") $(if $(MAX_P90_MS),--max-p90-ms $(MAX_P90_MS)) $(if $(MIN_MAP),--min-map $(MIN_MAP)) $(if $(MAX_MB),--max-mb $(MAX_MB))

web: .venv/.stamp  ## write the page that tags images in a browser to dist/RECIPE-web (needs npm once)
	@$(RUN) web --recipe $(RECIPE) $(if $(MODEL),--model $(MODEL))

plan: .venv/.stamp  ## print what would run, why, for how long
	@$(RUN) plan $(OPTIONS) $(OF)

doctor: .venv/.stamp  ## explain why int8 engines are no faster than float, and whether this CPU computes them correctly
	@$(RUN) doctor $(RECIPE)

fetch: .venv/.stamp  ## only fetch the images of the demo, before going offline
	@$(RUN) fetch

check: .venv/.stamp  ## format, lint, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

test: .venv/.stamp  ## the tests, without a network
	$(TEST_ENV) .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" --durations 12 $(TESTS)

docs: .venv/.stamp  ## build the documentation with the API reference in site/, without a network
	.venv/bin/python -m mkdocs build --strict --quiet
	@echo "open site/index.html"

slow: .venv/.stamp  ## the tests that take minutes; arm has the emulated ones
	$(TEST_ENV) .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --ignore tests/test_emulated.py $(TESTS)

arm: .venv/.stamp  ## run a bundle on emulated ARM and older x86 processors (Debian 12; root once)
	@command -v qemu-aarch64-static >/dev/null || apt-get install -y -q --no-install-recommends qemu-user-static
	$(TEST_ENV) .venv/bin/python -m pytest -m slow tests/test_emulated.py tests/pipeline/search/test_screen_ssh.py -k 'emulated or arm or vnni'

torture: .venv/.stamp  ## break the pipeline on purpose and say what was lost; hours, resumable, or SHARE=0.1 of the attempts
	.venv/bin/python -m scripts.torture $(if $(SHARE),--share $(SHARE))

speed: .venv/.stamp  ## measure losses, metrics, data, training and the report page against plain ways and limits
	.venv/bin/python -m scripts.speed

audit: .venv/.stamp  ## check the locked packages, and BUNDLE=FOLDER, against ADVISORIES=all.zip of OSV (SECURITY.md says where from)
	$(if $(ADVISORIES),,$(error audit needs ADVISORIES=all.zip: SECURITY.md says where to get it))@.venv/bin/python -m scripts.audit "$(ADVISORIES)" requirements.lock $(if $(BUNDLE),"$(BUNDLE)/sbom.cdx.json")

clean:  ## remove all results and caches unless a run is in progress; dist/ and .venv/ stay
	@if [ -x .venv/bin/python ]; then $(RUN) clean --all; else rm -rf runs; fi
	rm -rf site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

system:  ## install Chromium, sshd, and compilers and libraries of examples/elsewhere for the tests that use them (as root)
	apt-get update -q && apt-get install -y -q --no-install-recommends chromium openssh-server \
	  cmake g++ golang-go libexif-dev libjpeg-dev libpng-dev nlohmann-json3-dev pkg-config

lock: .venv/.stamp  ## renew requirements.lock from pyproject.toml
	$(UV) pip compile pyproject.toml --extra device --extra train --extra export --extra report --group dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -q -o requirements.lock

.venv/.stamp: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "setup: expected Python 3.11 or newer, got $$($(PYTHON) --version 2>/dev/null || echo none); apt-get install python3, or make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "setup: expected Python's venv and ensurepip, got neither; apt-get install python3-venv" >&2; exit 2; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@sed -n '/^uv==/,/[^\]$$/p' requirements.lock > .venv/uv.txt
	@test -x $(UV) || .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(UV) pip sync --quiet --require-hashes --python .venv/bin/python requirements.lock
	@touch .venv/.stamp
