"""Connectivity: communities of neurons, whether they are more than chance, and how the weights move.

Weight matrices are (..., neuron, presynaptic), as a run keeps them; where both dims have labels, these say what is one
neuron. Communities are those of the undirected graph of
the mean strengths of both directions, (abs(W) + abs(W)^T) / 2 without its diagonal; they need the package
scikit-network.
"""

from __future__ import annotations

from ip2lab.analysis._communities import communities, modularity, stationarity
from ip2lab.analysis._weights import change_size, gradient_alignment, spectral_radius

__all__ = [
    "change_size",
    "communities",
    "gradient_alignment",
    "modularity",
    "spectral_radius",
    "stationarity",
]
