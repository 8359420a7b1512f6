"""The names that other people's code is written against, as docs/reference.rst lists them: none is gone or bare."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ip2lab

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.rst"
MODULES = (
    "ip2lab", "ip2lab.analysis", "ip2lab.analysis.population", "ip2lab.analysis.neurons", "ip2lab.analysis.curves",
    "ip2lab.analysis.connectivity", "ip2lab.views", "ip2lab.views.plots", "ip2lab.probes", "ip2lab.tasks",
    "ip2lab.records",
)  # fmt: skip
SIGNATURES = {  # what the contract says; more keywords with defaults may be there
    "train": lambda family, model="spiking", *, learnable="default", problems=100, seed=0, path=None, progress=True,
                    **options: ...,
    "resume": lambda path, *, problems=None, progress=True: ...,
    "open_run": lambda path: ...,
    "probe": lambda run, problem, *, repeats=0, **changes: ...,
    "replay": lambda run, problem, trial: ...,
    "example": lambda name: ...,
    "family": lambda name, **settings: ...,
    "families": lambda: ...,
    "models": lambda: ...,
}  # fmt: skip


def listed() -> list[str]:
    """Return the full names on the page of the reference."""
    found, module = [], ""
    for line in REFERENCE.read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif name := re.fullmatch(r" {3}([A-Za-z0-9_.]+)", line):
            found.append(f"{module}.{name[1]}")
    return found


def thing(full: str) -> Any:
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", listed())
def test_public_name_is_there_and_documented(name: str) -> None:
    text = inspect.getdoc(thing(name)) or ""
    assert len(text.split()) > 3
    assert text.splitlines()[0].rstrip().endswith((".", ":")), "a summary of one line"


@pytest.mark.parametrize("module", MODULES)
def test_reference_lists_what_a_module_offers(module: str) -> None:
    known = [thing(name) for name in listed()]
    offered = importlib.import_module(module)
    missing = [
        name
        for name in offered.__all__
        if callable(it := getattr(offered, name))
        and not isinstance(it, ModuleType)
        and not any(it is one for one in known)
    ]
    assert not missing, f"add to docs/reference.rst, under {module}: {', '.join(missing)}"


@pytest.mark.parametrize("name", [name for name in listed() if re.fullmatch(r"ip2lab\.\w+", name)])
def test_names_at_the_top_are_listed(name: str) -> None:
    short = name.removeprefix("ip2lab.")
    assert short in ip2lab.__all__ and short in dir(ip2lab)


@pytest.mark.parametrize(("name", "promised"), SIGNATURES.items())
def test_signatures_of_the_contract(name, promised):
    got, wanted = (inspect.signature(thing).parameters for thing in (getattr(ip2lab, name), promised))
    assert [(p.name, p.kind, p.default) for p in got.values() if p.name in wanted] == [
        (p.name, p.kind, p.default) for p in wanted.values()
    ]
    more = [p for p in got.values() if p.name not in wanted]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in more)


def test_everything_listed_at_the_top_exists():
    for name in ip2lab.__all__:
        assert getattr(ip2lab, name) is not None


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it has .*train"):
        _ = ip2lab.trian


def test_the_mapping_of_properties_is_public_as_it_is():
    assert list(ip2lab.PROPERTIES) == [
        "bias", "tau_dendrite", "tau_soma", "threshold", "adaptation_strength", "tau_adaptation", "gain", "tau",
    ]  # fmt: skip
    assert ip2lab.models()[0] == "spiking" and ip2lab.families()[0] == "association"


@pytest.mark.parametrize("package", ["ip2lab", "ip2lab.views"])
def test_stub_types_every_lazy_name(package: str) -> None:
    module = importlib.import_module(package)
    stub = Path(module.__file__ or "").with_suffix(".pyi")
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    assert set(typed) >= set(module.__all__)
    for name, home in typed.items():
        assert getattr(module, name) is getattr(importlib.import_module(str(home)), name)
