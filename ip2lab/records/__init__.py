"""A run on disk and in memory: its schema, how it grows, how it is read while it grows.

The store is Zarr, version 3; ``xarray.open_datatree(path, engine="zarr")`` alone reads it, with units and labels.

A commit writes chunks first and then replaces the root's ``zarr.json``, which holds the metadata of all arrays,
as a whole. Rows are only ever added, and a chunk that was filled in part is replaced whole, so a reader sees the
rows of one commit, whenever it looks, and a kill loses what was not committed and nothing else.
"""

from ip2lab.records.external import TrainingRecorder
from ip2lab.records.reading import open_run, read_checkpoint
from ip2lab.records.schema import GROUPS, SCHEMA_VERSION, template
from ip2lab.records.searches import open_search, write_search
from ip2lab.records.writing import Recorder

__all__ = [
    "GROUPS",
    "SCHEMA_VERSION",
    "Recorder",
    "TrainingRecorder",
    "open_run",
    "open_search",
    "read_checkpoint",
    "template",
    "write_search",
]
