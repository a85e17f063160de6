# make demo needs Python ≥ 3.11, make and a package index; everything else is installed into .venv, at pinned versions.
PYTHON ?= python3
BIN := .venv/bin
# --no-compile: byte code of modules that are never imported would take half a minute. Imported modules are compiled once
# and cached: without byte code every process that imports torch starts twice as slowly.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

# $(call install,PACKAGES) says what is installed, and what to do where that cannot be; a comma would end PACKAGES.
comma := ,
install = @echo "pip install $(1)"; $(PIP) $(1) || { echo "These packages could not be installed. They come from a \
	package index, which has to be reached once; what is installed already works without." >&2; false; }

.PHONY: demo test slow long zoo check bench page docs figures release matrix clean

demo: .venv/installed
	$(BIN)/steepest train digits
	$(BIN)/steepest film digits

# One single-threaded process per core; tests that need two threads set them. `worksteal` keeps most modules in one
# process, so that module fixtures are made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test: .venv/test
	$(PYTEST) -m "not slow"

# What starts processes, compiles, or draws for seconds.
slow: .venv/test
	$(PYTEST) -m "slow and not long" tests docs --ignore=tests/zoo

# What takes minutes, in one process of tests: a node of a Ray cluster starts several of its own.
long: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long tests

# Kinds of task × verbs; prints the table and writes docs/zoo.md.
zoo: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.zoo

check: .venv/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/bench
	$(BIN)/python -m benchmarks

# The film page; needs Node ≥ 20.19. The built page is committed, so installing does not need Node.
page:
	@command -v npm > /dev/null || { echo "make page needs Node 20.19 or newer, with npm. Only those who change page/ need" \
		"it: the page that it builds is committed, and make demo, make test and make docs use that one." >&2; false; }
	cd page && npm ci --no-audit --no-fund && npm test && npm run build

# The manual, in build/docs; open build/docs/index.html. A warning is an error.
docs: .venv/docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees \
		docs build/docs
	@echo "The manual: build/docs/index.html"

# The pictures of the manual, which are committed.
figures: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.figures

# The wheel and the source archive: built, their contents checked, and installed and used outside of the checkout.
release: .venv/installed
	$(BIN)/python -m tests.release

# Combinations of Python, torch and numpy, each in an environment of its own; writes the table of docs/versions.md.
matrix: .venv/installed
	$(BIN)/python -m tests.release matrix

clean:
	rm -rf .venv build dist *.egg-info

# A current pip installs in two thirds of the time of the one that comes with Python 3.11.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(call install,--upgrade pip)

# torch first and alone: its version is pinned, and no other package may pull another one.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(call install,torch)
	$(call install,--editable .)
	touch $@

# The tests of the manual read its extension, which is Sphinx's. curvlinops, the oracle of the curvature tests, requires
# torchvision through backpack, which has no build for this torch.
.venv/test: .venv/installed
	$(call install,--editable '.[test$(comma)docs]')
	$(call install,--no-deps curvlinops-for-pytorch backpack-for-pytorch unfoldNd)
	touch $@

.venv/docs: .venv/installed
	$(call install,--editable '.[docs]')
	touch $@

.venv/bench: .venv/test
	$(call install,--editable '.[test$(comma)bench]')
	touch $@

.venv/check: .venv/test
	$(call install,--editable '.[test$(comma)check]')
	touch $@
