"""Recorded runs and searches to look at without training first: how each was made, how to make it again, where it is.

``python -m ip2lab.examples NAME ...`` makes them again in the folder ``data`` (without a name: all of them).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import xarray as xr

from ip2lab import records
from ip2lab.properties import UnknownName, hint
from ip2lab.records.stores import absolute

DATA = Path(__file__).parents[1] / "data"
SEED = 11
# the more conditions the fewer problems are kept: all examples together stay below 25 MB
KEPT = {
    "association": [0, 1, 4, 19, 59],
    "gng_dr_2": [0, 4, 59],
    "dms": [0, 59],
    "gng_dr_4": [0, 59],
    "cd_dms": [0, 59],
}
EVERY = {"association": 50, "gng_dr_2": 50, "dms": 200, "gng_dr_4": 50, "cd_dms": 200}  # trials between trajectory rows
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "_nothing": {"learnable": "bias"},
    "_all": {"learnable": "all", "adaptation": True},
    "_rate": {"model": "rate"},
    "_attention": {"model": "attention"},
}
# what hardly solves a problem, or is slow: a few capped problems show as much as many
SHORT = {"dms_nothing", "cd_dms_nothing", "gng_dr_4_nothing", *(f"{family}_attention" for family in KEPT)}


def _arguments(family: str, variant: str) -> dict[str, Any]:
    short = family + variant in SHORT
    record = {
        "kept": [0, 7] if short else KEPT[family],
        "trajectories": EVERY[family],
        "checkpoints": False,
        "half_precision": True,
    }
    length = {"problems": 8, "max_trials": 1500} if short else {"problems": 60}
    return {"family": family, "seed": SEED, "record": record, **length, **VARIANTS[variant]}


PAPER = ("tau_dendrite", "tau_soma", "threshold")
CANDIDATES = [("bias", *some) for size in range(len(PAPER) + 1) for some in combinations(PAPER, size)]
EXAMPLES = {family + variant: _arguments(family, variant) for family in KEPT for variant in VARIANTS}
_SEARCH: dict[str, Any] = {"seeds": [*range(501, 508)], "problems": 20, "max_trials": 2000, "candidates": CANDIDATES}
SEARCHES: dict[str, dict[str, Any]] = {
    "search_association": _SEARCH | {"family": "association"},
    "search_gng_dr_2": _SEARCH | {"family": "gng_dr_2"},
    "search_dms": _SEARCH | {"family": "dms", "max_trials": 4000},
    "search_association_exhaustive": _SEARCH
    | {"family": "association", "method": "exhaustive", "seeds": [*range(501, 506)], "problems": 12},
}


def example(name: str) -> Any:
    """Open a recorded run, or a recorded search of the slow level.

    Parameters
    ----------
    name : str
        ``"association"`` or another family, trained from the homogeneous start with the default properties learnable;
        with ``_nothing`` after it, with the bias alone learnable; with ``_all``, with adaptation and all properties
        learnable;
        with ``_rate`` and ``_attention``, of the networks it is compared with. ``"search_association"``,
        ``"search_gng_dr_2"``, ``"search_dms"``: what the slow level found there by successive halving;
        ``"search_association_exhaustive"``: without giving up any configuration.

    Returns
    -------
    DataTree
        The run, opened lazily; of a search, a Dataset.

    Raises
    ------
    KeyError
        There is no such example; the message lists them.
    FileNotFoundError
        It is not there, as outside a checkout; the message says how to make it.

    Examples
    --------
    >>> example("associaton")
    Traceback (most recent call last):
        ...
    ip2lab.properties.UnknownName: there is no example 'associaton'; there is association, association_nothing, ...
    >>> example("search_dms").sizes["configuration"]
    8
    """
    _check(name)
    path = DATA / (f"{name}.json" if name in SEARCHES else f"{name}.zarr")
    if not path.exists():
        how = f'ip2lab.examples.make("{name}", FOLDER) makes it'
        raise FileNotFoundError(
            f"{path} is not there: the examples are part of the repository; {how} (less than a minute)"
        )
    return records.open_search(path) if name in SEARCHES else records.open_run(path)


def _check(name: Any) -> None:
    """Raise UnknownName for what is no example."""
    known = [*EXAMPLES, *SEARCHES]
    if not isinstance(name, str) or name not in known:
        raise UnknownName(f"there is no example {name!r}; there is {', '.join(known)}{hint(name, known)}")


def make(name: str, folder: str | Path = DATA) -> Any:
    """Make an example again in a folder, with its provenance beside it.

    Parameters
    ----------
    name : str
        One of ``EXAMPLES`` or ``SEARCHES``.
    folder : path
        Where ``NAME.zarr`` and ``NAME.json`` are written (``NAME.json`` alone for a search, with its provenance among
        its attributes); what is there under these names is replaced.

    Returns
    -------
    DataTree
        The run; of a search, a Dataset.

    Examples
    --------
    >>> make("nothing")
    Traceback (most recent call last):
        ...
    ip2lab.properties.UnknownName: there is no example 'nothing'; there is association, ...
    """
    from ip2lab.training.trainer import train  # here, so that opening an example to look at it loads no torch

    _check(name)
    if name in SEARCHES:
        return _make_search(name, absolute(folder, "a folder"))
    arguments = EXAMPLES[name]
    path = absolute(folder, "a folder") / f"{name}.zarr"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    run = train(**arguments, path=path, progress=False)
    provenance = {
        "command": f"python -m ip2lab.examples {name}",
        "arguments": arguments,
        "versions": run.attrs["versions"],
        **made_with(),
        "date": run.attrs["date"],
        "checksum": checksum(path),
    }
    path.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")
    return run


def _make_search(name: str, folder: Path) -> xr.Dataset:
    from ip2lab.plasticity import search_plasticity

    folder.mkdir(parents=True, exist_ok=True)
    found = search_plasticity(**SEARCHES[name], progress=False)
    found.attrs |= {"command": f"python -m ip2lab.examples {name}", **made_with()}
    records.write_search(found, folder / f"{name}.json")
    return found


def made_with() -> dict[str, str]:
    """Return what the last bits depend on beside the versions: the processor, and the source of the kernels."""
    from llvmlite import binding  # type: ignore[import-untyped]

    from ip2lab.networks.compilation import STEP, source_of

    return {"processor": binding.get_host_cpu_name(), "kernels": hashlib.sha256(source_of(STEP)).hexdigest()}


def checksum(path: str | Path) -> str:
    """Return the SHA-256 over names and contents of all files of a run, in order.

    Examples
    --------
    >>> import tempfile
    >>> checksum(tempfile.mkdtemp())[:8]
    'e3b0c442'
    """
    digest, path = hashlib.sha256(), absolute(path)
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Make the examples that are named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*EXAMPLES, *SEARCHES]))
    for name in parser.parse_args().names or [*EXAMPLES, *SEARCHES]:
        made = make(name)
        if name in SEARCHES:
            words = made.attrs["reason"]
        else:
            words = f"{int(made['series'].failed.sum())} of {made['series'].sizes['problem']} problems failed"
        print(f"{name}: {words}", flush=True)


if __name__ == "__main__":
    main()
