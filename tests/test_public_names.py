"""The names that other people's notebooks are written against: one that disappears is a new major version."""

from __future__ import annotations

import importlib
import inspect

import pytest

import ip2lab

PUBLIC = {
    "ip2lab": ["PROPERTIES", "example", "families", "family", "models", "open_run",
               "probe", "replay", "resume", "train"],
    "ip2lab.tasks": ["Epoch", "Family", "Problem", "families", "family"],
    "ip2lab.networks": ["build", "models", "network_class"],
    "ip2lab.networks.spiking": ["Activity", "SpikingNetwork", "simulate"],
    "ip2lab.properties": ["PROPERTIES", "Property", "PropertyTable"],
    "ip2lab.learning": ["Series", "kept", "resume", "train"],
    "ip2lab.options": ["DEFAULTS", "resolve"],
    "ip2lab.records": ["Recorder", "open_run", "template"],
    "ip2lab.analysis": ["connectivity", "curves", "neurons", "population"],
    "ip2lab.analysis.population": ["align", "decode", "demix", "manifold", "participation_ratio", "pca",
                                   "principal_angles", "project", "speed", "subspaces"],
    "ip2lab.analysis.neurons": ["adaptation_index", "density", "drift", "firing_rate", "interspike_intervals", "psth",
                                "selectivity"],
    "ip2lab.analysis.connectivity": ["communities", "modularity", "stationarity"],
    "ip2lab.analysis.curves": ["bootstrap", "compare", "exponential_fit", "failures", "final_efficiency"],
}  # fmt: skip
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


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_public_name_is_there_and_documented(module, name):
    thing = getattr(importlib.import_module(module), name, None)
    if thing is None and module == "ip2lab.analysis":  # its modules
        thing = importlib.import_module(f"{module}.{name}")
    assert thing is not None, f"{module}.{name} is gone"
    text = inspect.getdoc(thing) or ""
    assert thing is ip2lab.options.DEFAULTS if name == "DEFAULTS" else len(text.split()) > 3
    if inspect.isfunction(thing) or (inspect.isclass(thing) and name in ("Series", "SpikingNetwork", "Property")):
        assert text.splitlines()[0].rstrip().endswith(".")


@pytest.mark.parametrize("name", PUBLIC["ip2lab"])
def test_names_at_the_top_are_listed(name):
    assert name in ip2lab.__all__ and name in dir(ip2lab)


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
        "tau_dendrite", "tau_soma", "threshold", "adaptation_strength", "tau_adaptation", "gain", "tau",
    ]  # fmt: skip
    assert ip2lab.models()[0] == "spiking" and ip2lab.families()[0] == "association"
