"""Runs to look at, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1]))

from make_run import make_run


@pytest.fixture(scope="session")
def run() -> xr.DataTree:
    return make_run(problems=14, neurons=12, steps=25, repeats=2)


@pytest.fixture(scope="session")
def other_run() -> xr.DataTree:
    return make_run(problems=14, neurons=12, steps=25, seed=5)
