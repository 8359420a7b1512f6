"""Recorded runs to look at without training first: how each was made, how to make it again, where to find it.

``python -m ip2lab.examples NAME ...`` makes them again in the folder ``data`` (without a name: all of them).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import xarray as xr

from ip2lab import records

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
    "_nothing": {"learnable": None},
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
        "half": True,
    }
    length = {"problems": 8, "max_trials": 1500} if short else {"problems": 60}
    return {"family": family, "seed": SEED, "record": record, **length, **VARIANTS[variant]}


EXAMPLES = {family + variant: _arguments(family, variant) for family in KEPT for variant in VARIANTS}


def example(name: str) -> xr.DataTree:
    """Open a recorded run.

    Parameters
    ----------
    name : str
        ``"association"`` or another family, trained from the homogeneous start with the default properties learnable;
        with ``_nothing`` after it, with nothing learnable; with ``_all``, with adaptation and all properties learnable;
        with ``_rate`` and ``_attention``, of the networks it is compared with.

    Returns
    -------
    DataTree
        The run, opened lazily.

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
    KeyError: "there is no example 'associaton'; there is association, association_nothing, ..."
    """
    if name not in EXAMPLES:
        raise KeyError(f"there is no example {name!r}; there is {', '.join(EXAMPLES)}")
    path = DATA / f"{name}.zarr"
    if not path.exists():
        how = f'ip2lab.examples.make("{name}", FOLDER) makes it'
        raise FileNotFoundError(
            f"{path} is not there: the examples are part of the repository; {how} (less than a minute)"
        )
    return records.open_run(path)


def make(name: str, folder: str | Path = DATA) -> xr.DataTree:
    """Make an example again in a folder, with its provenance beside it.

    Parameters
    ----------
    name : str
        One of ``EXAMPLES``.
    folder : path
        Where ``NAME.zarr`` and ``NAME.json`` are written; what is there under these names is replaced.

    Returns
    -------
    DataTree
        The run.

    Examples
    --------
    >>> make("nothing")
    Traceback (most recent call last):
        ...
    KeyError: 'nothing'
    """
    from ip2lab.learning import train  # here, so that opening an example to look at it loads no torch

    arguments = EXAMPLES[name]
    path = Path(folder) / f"{name}.zarr"
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


def made_with() -> dict[str, str]:
    """Return what the last bits depend on beside the versions: the processor, and the source of the kernels."""
    from llvmlite import binding  # type: ignore[import-untyped]

    source = (Path(__file__).parent / "networks" / "kernels.py").read_bytes()
    return {"processor": binding.get_host_cpu_name(), "kernels": hashlib.sha256(source).hexdigest()}


def checksum(path: str | Path) -> str:
    """Return the SHA-256 over names and contents of all files of a run, in order.

    Examples
    --------
    >>> import tempfile
    >>> checksum(tempfile.mkdtemp())[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    for file in sorted(p for p in Path(path).rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Make the examples that are named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXAMPLES))
    for name in parser.parse_args().names or EXAMPLES:
        series = make(name)["series"]
        print(f"{name}: {int(series.failed.sum())} of {series.sizes['problem']} problems failed", flush=True)


if __name__ == "__main__":
    main()
