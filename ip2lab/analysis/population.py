"""Populations: in which directions, how many and how fast the activity of many neurons moves, and what it tells.

Every function takes a labelled array and the name of the dim that holds the neurons (``feature="neuron"``); all other
dims are samples. Arrays backed by dask are gone through chunk by chunk by `pca`, `project` and
`participation_ratio`.
"""

from __future__ import annotations

from ip2lab.analysis._decoding import decode
from ip2lab.analysis._demixing import demix
from ip2lab.analysis._dynamics import align, speed
from ip2lab.analysis._embedding import manifold, procrustes
from ip2lab.analysis._pca import dimensionality, participation_ratio, pca, project
from ip2lab.analysis._subspaces import principal_angles, subspace_rotation, subspaces
from ip2lab.analysis._trials import condition_means, pad_trials

__all__ = [
    "align",
    "condition_means",
    "decode",
    "demix",
    "dimensionality",
    "manifold",
    "pad_trials",
    "participation_ratio",
    "pca",
    "principal_angles",
    "procrustes",
    "project",
    "speed",
    "subspace_rotation",
    "subspaces",
]
