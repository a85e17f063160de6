# make demo needs Python ≥ 3.11, make and a package index; everything else is installed into .venv, at pinned versions.
PYTHON ?= python3
BIN := .venv/bin
# Not compiled: byte code of what is never imported would take half a minute. What is imported is compiled once and kept,
# whatever the environment says: without byte code each process that imports torch takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check bench page clean

demo: .venv/installed
	$(BIN)/steepest train digits
	$(BIN)/steepest film digits

# A process per core, of one thread each: tests that need two threads ask for them. They steal work from each other, so
# that most modules stay in one process and what their tests share is made once.
test: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

check: .venv/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/bench
	$(BIN)/python -m benchmarks

# The film page; needs Node ≥ 20.19. What it builds is committed, so that nobody else needs Node.
page:
	cd page && npm ci --no-audit --no-fund && npm test && npm run build

clean:
	rm -rf .venv build dist *.egg-info

# A pip of today installs in two thirds of the time that the one in Python 3.11 takes.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

# torch first and alone: its version is pinned, and nothing that needs it may bring another one.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable .
	touch $@

# curvlinops, which curvature is tested against, asks by way of backpack for torchvision, which has no build for this torch.
.venv/test: .venv/installed
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps curvlinops-for-pytorch backpack-for-pytorch unfoldNd
	touch $@

.venv/bench: .venv/test
	$(PIP) --editable '.[test,bench]'
	touch $@

.venv/check: .venv/test
	$(PIP) --editable '.[test,check]'
	touch $@
