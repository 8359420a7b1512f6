"""A search of the slow level as a file: a labelled dataset in JSON, a few kilobytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import xarray as xr

from ip2lab.records.stores import absolute

NEEDED = ("trials", "stopped", "given_up", "learns")


def open_search(path: str | Path) -> xr.Dataset:
    """Open what :func:`ip2lab.search_plasticity` stored.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Dataset
        The search, as it was returned.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no file, or it holds something else.

    Examples
    --------
    >>> open_search("nowhere.json")
    Traceback (most recent call last):
        ...
    FileNotFoundError: ...nowhere.json: there is no search here; ip2lab.search_plasticity(..., path=...) makes one
    """
    path = absolute(path, "a file")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: there is no search here; ip2lab.search_plasticity(..., path=...) makes one")
    try:
        found = xr.Dataset.from_dict(json.loads(path.read_text()))
        missing = [name for name in NEEDED if name not in found] + ["decision"] * ("decision" not in found.attrs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no search: {error}; give what search_plasticity(path=...) wrote") from None
    if missing:
        raise ValueError(
            f"{path} holds no search: {missing[0]} is missing; give what search_plasticity(path=...) wrote"
        )
    found.encoding["source"] = str(path)
    return found


def write_search(search: xr.Dataset, path: str | Path) -> None:
    """Store a search where `open_search` finds it.

    Parameters
    ----------
    search : Dataset
        What :func:`ip2lab.search_plasticity` returned.
    path : path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> nothing = xr.Dataset({name: ((), 0.0) for name in NEEDED}, attrs={"decision": []})
    >>> write_search(nothing, tempfile.mkdtemp() + "/search.json")
    """
    if not isinstance(search, xr.Dataset):
        raise TypeError(f"search is {search!r:.60}; give what ip2lab.search_plasticity returned")
    path, text = absolute(path, "a file"), json.dumps(search.to_dict()) + "\n"
    try:
        path.write_text(text)
    except OSError as error:
        raise OSError(error.errno, f"path: {str(path)!r:.300} cannot be written: {error.strerror}") from error
