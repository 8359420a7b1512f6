# The laboratory's commands; `make` alone lists them. Needs Python >= 3.11, git and make.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8888
# Which build of PyTorch: empty takes the package index's own (on Linux with CUDA, gigabytes); `cpu`, `cu130`, ... take that
# build from PyTorch's own index. Off by default because closed networks cannot reach it. Counts when $(VENV) is made.
TORCH ?=

BIN := $(VENV)/bin
INDEX := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))
PIP := $(BIN)/python -m pip install -q --progress-bar off --log $(VENV)/pip.log --disable-pip-version-check -c constraints.txt $(INDEX)

.PHONY: help lab test chromium nightly long coverage lowest lint docs notebooks data bench clean

help:
	@echo "make lab        open JupyterLab on notebooks/00_start_here.ipynb (PORT=8888, TORCH=cpu for the small PyTorch)"
	@echo "make test       run everything: tests, doctests, notebooks"
	@echo "make nightly    the same with the long tests and fresh random examples"
	@echo "make coverage   run everything and count lines and branches of the package, compiled code too"
	@echo "make lint       style, types, import contracts, docstrings"
	@echo "make docs       build the documentation into docs/_build/html; a warning is an error"
	@echo "make notebooks  execute the notebooks and write back what a web reader sees (NB=path for one)"
	@echo "make data       train the runs in data/ again (RUN=name for one)"
	@echo "make bench      time the core beside other libraries, in an environment of its own (ROW=name for one row)"
	@echo "make clean      remove the environment and the laboratory's own files"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ip2lab needs Python 3.11 or newer and this is " + sys.version.split()[0] + "; name another one: make lab PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# The stamp makes a second `make lab` start at once. Editable, so that who edits a notebook can edit the package beside it
# and a `git pull` needs no new install. Without build isolation, so that the build tools are pinned like all the rest;
# setuptools is for dependencies that come as source only.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what '$*' needs into $(VENV) (some minutes, once; pip writes to $(VENV)/pip.log)"
	@$(PIP) hatchling editables setuptools
	@$(PIP) --no-build-isolation -e '.[$*]'
	@touch $@

# Everything Jupyter and IPython write lies in .lab/ of this checkout, and the kernel is the one of $(VENV). The settings in
# tools/jupyterlab ask for no news. No search for language servers: it starts npm and rustup, which write into the home folder.
# No server extension of Panel, which HoloViews brings along: nothing here uses it, and it is a third of the starting time.
lab: $(VENV)/.installed-lab
	env -u JUPYTER_PATH -u JUPYTER_CONFIG_PATH JUPYTER_PREFER_ENV_PATH=1 IPYTHONDIR='$(CURDIR)/.lab/ipython' \
	    JUPYTER_CONFIG_DIR='$(CURDIR)/.lab/config' JUPYTER_DATA_DIR='$(CURDIR)/.lab/data' JUPYTER_RUNTIME_DIR='$(CURDIR)/.lab/runtime' \
	    $(BIN)/python -m jupyterlab --ip=127.0.0.1 --port=$(PORT) --ServerApp.root_dir='$(CURDIR)' \
	    --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(if $(filter 0,$(shell id -u)),--allow-root) \
	    --LabApp.app_settings_dir='$(CURDIR)/tools/jupyterlab' --LanguageServerManager.autodetect=False \
	    --ServerApp.jpserver_extensions=panel.io.jupyter_server_extension=False

# Two processes, each with whole files: what a file trains or opens once is not done twice.
test: $(VENV)/.installed-dev chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The browser of the explorers' tests, where this may install it; elsewhere those tests say that they skip.
chromium:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; fi

# Both at the same time: an hour and a quarter of an hour of one core. Their lines come mixed.
nightly:
	$(MAKE) --no-print-directory --jobs=2 --keep-going long lowest

long: $(VENV)/.installed-dev chromium
	$(BIN)/python -m pytest -m "" --hypothesis-profile=nightly

# The lowest versions that pyproject.toml allows, with what pip chooses around them now. Old releases beside new ones warn, so
# a warning is no error there; compiled kernels are cached apart, for numba's cache holds one version.
.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install -q --disable-pip-version-check -c constraints-lowest.txt $(INDEX) -e '.[test]'
	@touch $@

lowest: .venv-lowest/.installed
	NUMBA_CACHE_DIR='$(CURDIR)/.venv-lowest/numba' .venv-lowest/bin/python -m pytest -o filterwarnings=default -p no:cacheprovider \
	    -m "not nightly and not slow and not browser"

# Compiled code cannot be traced: the second run does tiny networks with the compiler off.
coverage: $(VENV)/.installed-dev chromium
	$(BIN)/python -m coverage run -m pytest
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run --append -m pytest tests/robust/test_tiny.py
	$(BIN)/python -m coverage report

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docstrings.py

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

notebooks: $(VENV)/.installed-dev
	$(BIN)/python tools/execute_notebooks.py $(NB)

data: $(VENV)/.installed-dev
	$(BIN)/python -m ip2lab.examples $(RUN)

# The peers have an environment of their own: they and what they need have no place in the project's.
.venv-bench/.installed: benchmarks/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --disable-pip-version-check -c constraints.txt hatchling editables setuptools setuptools_scm wheel
	.venv-bench/bin/python -m pip install --disable-pip-version-check -c constraints.txt --no-build-isolation -e . -r benchmarks/requirements.txt
	@touch $@

bench: .venv-bench/.installed
	.venv-bench/bin/python benchmarks/core.py $(ROW)

clean:
	rm -rf $(VENV) .venv-bench .venv-lowest .lab docs/_build docs/generated docs/notebooks
