# Everything here works in a fresh clone: it needs git, make and Python 3.11 (or newer), nothing else.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Kept bytecode is what every further process of a test starts with; some images switch it off.
unexport PYTHONDONTWRITEBYTECODE

TWO := -n 2 --dist loadfile --no-loadscope-reorder
# Servers and schedules are waited for half of the time. Files of many tests come first: they take longest.
THREE := -n 3 --dist loadfile

.PHONY: demo proof proof-quick test explore test-doors test-long check format demo-models graph constraints clean

demo: $(STAMP)  ## The whole method on the drawn demo world
	@$(BIN)/headcanon demo

proof: $(STAMP)  ## Measure the method in the demo world: hours; goes on where it was stopped. make proof ARMS=all
	@$(BIN)/python -m demo.proof --arms $(or $(ARMS),core)

proof-quick: $(STAMP)  ## The same on one pair in ten minutes
	@$(BIN)/python -m demo.proof --quick --arms $(or $(ARMS),core)

test: $(STAMP)  ## The tests, two at a time; the long ones aside
	@$(BIN)/pytest $(TWO) -m 'not long'

explore: $(STAMP)  ## Look for what the examples of `make test` miss: many more, drawn anew, the tests in any order. What is found becomes an @example
	@$(BIN)/pytest $(TWO) -m 'not long' -p randomly --hypothesis-profile explore $(ARGS)

test-doors: $(STAMP)  ## Of those of `make test-long` what CI runs: the ways in that users take
	@$(BIN)/pytest $(THREE) -m door

test-long: $(STAMP)  ## Before a release, about an hour: those that start servers, workers and browsers, or kill a run again and again
	@$(BIN)/pytest $(TWO) -m long

check: $(STAMP)  ## What CI checks before the tests: lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)  ## Put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

demo-models: $(STAMP)  ## Train the demo's tiny base model and tagger again (hours on a CPU)
	@$(BIN)/python -m demo.train

graph: $(STAMP)  ## Draw README's picture of the graph again
	@$(BIN)/python -m demo.graph

constraints: $(STAMP)  ## Write constraints.txt from the environment at hand, if it keeps every bound of pyproject.toml
	@$(BIN)/pip check
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/^torch==\([0-9.]*\).*/torch==\1/'; } > constraints.new
	@mv constraints.new constraints.txt

# torch comes first and pinned: left to a resolver it brings gigabytes of CUDA packages where none are wanted.
# Not compiled: half of the time goes into bytecode of modules that nothing here imports; the others get theirs then.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headcanon needs Python 3.11 or newer; point to it: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv out .headcanon build *.egg-info
