# What to type here.  `make demo` and `make test` need Python 3.11+ and make, and nothing else.
#
# Everything is installed into .venv, from locks with hashes.  The stamps .venv/for-* say which lock is installed, so
# that a second run sets up nothing.  Plain POSIX make and sh, for GNU make 3.81 and for BSD make.

.POSIX:
.NOTPARALLEL:
.PHONY: help demo run test soak lint bench docs lock clean

# May be given: which Python to build .venv with, what to hand on to the command, whether the demo keeps serving.
PYTHON ?=
ARGS =
STAY =

SHELL = /bin/sh
BIN = .venv/bin
PIP = $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
ITSELF = $(PIP) install --no-deps --no-build-isolation --editable .
YAML = app.yml app/policies .github actions docs/actions issue-templates

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: .venv/for-run ## play one incident, from the report to the merged postmortem (STAY=1 keeps serving)
	@stay='$(STAY)'; exec $(BIN)/muster demo $${stay:+--stay} $(ARGS)

run: .venv/for-run ## serve: the real thing with GitHub credentials, beside the pretend GitHub without
	@exec $(BIN)/muster serve $(ARGS)

test: .venv/for-dev ## run the tests (ARGS='-m quick' runs the rules and parsers in a minute)
	@exec $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

soak: .venv/for-dev ## run the checks of reliability at full size, an hour at most, and write docs/reliability.md
	@exec $(BIN)/python -m tools.reliability --run $(ARGS)

lint: .venv/for-dev ## check style, types, floors, names, workflows and forms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tools
	$(BIN)/lint-imports
	$(BIN)/python -m tools.naming
	$(BIN)/yamllint --strict $(YAML)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml docs/actions/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config issue-templates/config.yml
	@for form in issue-templates/*.yml app/github/data/incident-report.yml; do \
		case $$form in */config.yml) continue ;; esac; \
		echo "$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $$form"; \
		$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms "$$form" || exit 1; \
	done
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions actions/*/action.yml
	$(BIN)/zizmor --offline --persona auditor --no-progress .github actions docs/actions
	$(BIN)/python -m tools.run_steps .github/workflows actions docs/actions
	$(BIN)/shellcheck .ci/run actions/*.sh

bench: .venv/for-dev ## measure the figures that Muster promises
	@exec $(BIN)/python -m bench $(ARGS)

docs: .venv/for-dev ## print the pages in docs/ that follow from the code
	@exec $(BIN)/python -m tools.docs

lock: .venv/made ## pin what requirements/*.in ask for (ARGS=--upgrade takes newer versions)
	@set -eu; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; trap 'exit 1' HUP INT TERM; \
	$(BIN)/python -m venv "$$work/venv"; \
	"$$work/venv/bin/python" -m pip -qq --disable-pip-version-check install uv; \
	pin() { \
		"$$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 \
			--no-header --no-annotate --generate-hashes --no-emit-index-url --no-emit-find-links \
			$(ARGS) "$$@"; \
	}; \
	cd requirements; \
	pin run.in --output-file run.txt; \
	pin actions.in --constraint run.txt --output-file actions.txt; \
	pin dev.in --constraint run.txt --output-file dev.txt; \
	if grep -n '://' run.txt actions.txt dev.txt; then echo 'A lock names where it came from; it must not.' >&2; exit 1; fi

clean: ## take away .venv and what the tools left, but never the data in var/
	@rm -rf .venv build dist *.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/for-run: .venv/made requirements/run.txt requirements/run.in pyproject.toml
	@echo 'Setting up .venv with what Muster runs on ...'
	@$(PIP) install --no-deps --require-hashes --requirement requirements/run.txt
	@$(ITSELF)
	@touch $@

.venv/for-dev: .venv/made requirements/dev.txt requirements/run.in pyproject.toml
	@echo 'Setting up .venv with what the checks stand on ...'
	@$(PIP) install --no-deps --require-hashes --requirement requirements/dev.txt
	@$(ITSELF)
	@touch $@

# A .venv that works is kept.  The first Python that is new enough and can make one is taken.
.venv/made:
	@fits='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'; \
	if $(BIN)/python -c "$$fits" >/dev/null 2>&1; then touch $@; exit 0; fi; \
	for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		if "$$python" -c "$$fits" >/dev/null 2>&1; then \
			rm -rf .venv && "$$python" -m venv .venv && touch $@; exit; \
		fi; \
	done; \
	echo 'Muster needs Python 3.11 or newer with its venv module, and found none.' >&2; \
	echo 'On Debian and Ubuntu: apt install python3-venv.  On macOS: brew install python.' >&2; \
	echo 'One that is elsewhere can be named: make demo PYTHON=/path/to/python3' >&2; \
	exit 1
