"""What single neurons are selective for: effect sizes of analyses of variance, and mutual information."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr
from scipy import stats

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import apply, blocks, check, dataset, describe, identical, not_finite
from ip2lab.analysis._labels import called, labels_along, listed

COLUMNS = 4096  # neurons x times worked on at a time
BINS = 4  # equally filled classes into which a continuous response is cut for mutual information


@checked
def selectivity(
    data: xr.DataArray,
    label: str | xr.DataArray,
    *,
    trial: str = "trial",
    measure: Literal["omega_squared", "mutual_information"] = "omega_squared",
    shuffles: int = 100,
    seed: int = 0,
) -> xr.DataArray:
    r"""How much of a neuron's activity a label explains, at each time.

    .. math:: \omega^2 = \frac{SS_b - (k-1)\,MS_w}{SS_b + SS_w + MS_w},\qquad
              I = \sum_{r,l} p(r,l)\ln\frac{p(r,l)}{p(r)p(l)} - \langle I_\mathrm{shuffled}\rangle

    Both are 0 on average where there is nothing, and may be negative: they are not clipped.

    Parameters
    ----------
    data : xarray.DataArray
        (..., trial, ...): activity with noise; all other dims (time, neuron) are kept. May be backed by dask, for
        mutual information in one chunk along `trial`.
    label : str or xarray.DataArray
        A coord along the trials, or an array (trial).
    trial : str
        The dim of trials.
    measure : {"omega_squared", "mutual_information"}
        The share of variance, or the information in nats of the response: counts as they are, anything with more
        than 16 values cut into four equally filled classes.
    shuffles : int
        Permutations of the labels whose mean information is subtracted.
    seed : int
        Seed of the permutations.

    Returns
    -------
    xarray.DataArray
        ``selectivity`` (...), without unit or in nats; 0 for a neuron that is constant.

    Raises
    ------
    ValueError
        One class only, fewer than two trials of a class, trials that are identical within every class, a missing dim
        or coord, NaN.

    References
    ----------
    Olejnik and Algina, Psychol Methods 8:434-447 (2003); Panzeri et al., J Neurophysiol 98:1064-1072 (2007).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> values = np.random.default_rng(0).normal(size=(100, 2))
    >>> stimulus = np.arange(100) % 2
    >>> values[:, 0] += 2 * stimulus
    >>> data = xr.DataArray(values, dims=("trial", "neuron"), coords={"stimulus": ("trial", stimulus)})
    >>> neurons.selectivity(data, "stimulus").round(1).values[0].tolist()
    0.5
    """
    check(data, trial=trial)
    codes, counts = _codes(data, label, trial)
    if measure == "omega_squared":
        result = _omega_squared(data, codes, counts, trial)
        return describe(result, "selectivity", "1", "selectivity (omega squared)", data)
    if measure != "mutual_information":
        raise ValueError(f"measure={measure!r}; choose 'omega_squared' or 'mutual_information'")
    if data.chunks is not None and len(data.chunksizes[trial]) > 1:
        raise ValueError(
            f"{called(data)} is in {len(data.chunksizes[trial])} chunks along {trial!r}; join them: .chunk({trial}=-1)"
        )
    if data.chunks is None:
        check(data, finite=True)
    rng = np.random.default_rng(seed)
    drawn = np.stack([codes, *(rng.permutation(codes) for _ in range(shuffles))])
    result = apply(_information, data, over=[(trial,)], lazy={}, drawn=drawn, k=len(counts))
    return describe(result, "selectivity", "nats", "selectivity (mutual information, shuffled subtracted)", data)


def _codes(data: xr.DataArray, label: str | xr.DataArray, trial: str) -> tuple[np.ndarray, np.ndarray]:
    """The class of each trial as a number, and trials in each class."""
    classes, codes, counts = np.unique(
        labels_along(data, label, [trial]).values, return_inverse=True, return_counts=True
    )
    if counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]} of {label if isinstance(label, str) else label.name!r} has one trial in "
            f"{called(data)}; variance within a class needs two or more of each"
        )
    return codes, counts


def _omega_squared(data: xr.DataArray, codes: np.ndarray, counts: np.ndarray, trial: str) -> xr.DataArray:
    """Omega squared of `data`, which is gone through in blocks and never copied whole."""
    moved = data.transpose(..., trial)
    chunks = moved.chunks[-1] if moved.chunks is not None else (moved.shape[-1],)
    mean = np.zeros((*moved.shape[:-1], len(counts)))
    square = np.zeros_like(mean)
    seen, start = np.zeros(len(counts)), 0
    for length in chunks:
        here = np.eye(len(counts))[codes[start : start + length]]  # (trial, class)
        n = here.sum(0)
        for place, block in blocks(moved.data[..., start : start + length], size=max(1, 2**18 // length)):
            with np.errstate(invalid="ignore"):  # infinite values are refused by name below
                own, around = _class_moments(block, here, n)
            shift = own - mean[place]
            # moments of a union (Chan, Golub and LeVeque): before and here
            square[place] += around + shift**2 * (seen * n / np.maximum(seen + n, 1))
            mean[place] += shift * (n / np.maximum(seen + n, 1))
        seen, start = seen + n, start + length
    if not np.isfinite(square).all():
        check(data, finite=True)  # names the place; else a sum of finite values overflowed
        raise not_finite(data)
    within, between = square.sum(-1), _between(mean, counts)
    if not (within > 1e-12 * between).any() and (between > 0).any():
        raise identical(
            data, f"the trials along {trial!r} of each class", ", so that every difference would look perfect"
        )
    k, n_trials = len(counts), counts.sum()
    per_trial = within / (n_trials - k)
    scale = between + within + per_trial
    varies = between + within > n_trials * (1e-12 * np.abs(mean).max(-1)) ** 2
    omega = np.divide(between - (k - 1) * per_trial, scale, out=np.zeros_like(scale), where=varies)
    left = data.isel({trial: 0}, drop=True)  # for its labels; lazy data are not computed
    return xr.DataArray(omega, dims=left.dims, coords=left.coords)


def _class_moments(block: np.ndarray, here: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and sums of squares around them (..., class) of `block` (..., trial), classes `here` (trial, class)."""
    rows = block.astype(float)
    center = rows.mean(-1, keepdims=True)
    rows -= center
    own = rows @ here / np.maximum(n, 1)
    around = (rows**2) @ here - n * own**2
    return np.where(n > 0, own + center, 0.0), around.clip(0)


def _between(mean: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of squares between classes from their means (..., class)."""
    center = (mean * counts).sum(-1, keepdims=True) / counts.sum()
    return (counts * (mean - center) ** 2).sum(-1)


def _information(values: np.ndarray, drawn: np.ndarray, k: int) -> np.ndarray:
    """Mutual information (nats) of `values` (..., trial) with labels `drawn` (draw, trial), less draws 1..."""
    n = values.shape[-1]
    columns = values.reshape(-1, n)
    one_hot = np.eye(k)[drawn].transpose(1, 0, 2).reshape(n, -1)  # (trial, draw x class)
    found = np.empty(len(columns))
    for start in range(0, len(columns), COLUMNS):
        classes = _classes(columns[start : start + COLUMNS])
        joint = np.stack([(classes == r) @ one_hot for r in range(classes.max() + 1)])
        joint = joint.reshape(len(joint), len(classes), len(drawn), k) / n  # (response, column, draw, class)
        information = _plogp(joint).sum((0, 3)) - _plogp(joint.sum(0)).sum(-1) - _plogp(joint.sum(3)).sum(0)
        found[start : start + COLUMNS] = information[:, 0] - information[:, 1:].mean(1)
    return found.reshape(values.shape[:-1])


def _plogp(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.where(p > 0, p, 1.0))


def _classes(columns: np.ndarray) -> np.ndarray:
    """Responses (column, trial) as small whole numbers: few values as they are, many in equally filled classes."""
    values = np.unique(columns)
    if len(values) <= 16:
        return np.searchsorted(values, columns)
    edges = np.quantile(columns, np.arange(1, BINS) / BINS, axis=1).T
    return (columns[:, :, None] > edges[:, None, :]).sum(-1)


@checked
def mixed_selectivity(data: xr.DataArray, factors: Sequence[str], *, trial: str = "trial") -> xr.Dataset:
    r"""Which of two factors a neuron is selective for, and whether it mixes them.

    A two-way analysis of variance at each neuron (and time): main effects and interaction, each tested against the
    model without it (type III, so that unequal numbers of trials do no harm),

    .. math:: \omega^2_e = \frac{SS_e - df_e\,MS_w}{SS_\mathrm{total} + MS_w}.

    A neuron with two main effects mixes linearly; one with an interaction mixes nonlinearly.

    Parameters
    ----------
    data : xarray.DataArray
        (..., trial, ...): activity with noise; all other dims are kept.
    factors : sequence of str
        Two coords along the trials whose combinations all occur.
    trial : str
        The dim of trials.

    Returns
    -------
    xarray.Dataset
        ``omega_squared`` and ``p_value`` (effect, ...); the effects are the two factors and ``"a:b"``, their
        interaction. A neuron that is constant has 0 and 1.

    Raises
    ------
    ValueError
        Factors that cannot be told apart, combinations without trials, no trials to spare, identical trials, a missing
        dim or coord, NaN.

    References
    ----------
    Rigotti et al., Nature 497:585-590 (2013), doi 10.1038/nature12160.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> a, b = np.arange(80) % 2, np.arange(80) // 2 % 2
    >>> values = np.random.default_rng(0).normal(size=(80, 2))
    >>> values[:, 0] += 2 * a
    >>> values[:, 1] += 2 * (a == b)
    >>> data = xr.DataArray(values, dims=("trial", "neuron"), coords={"a": ("trial", a), "b": ("trial", b)})
    >>> found = neurons.mixed_selectivity(data, ["a", "b"])
    >>> (found.p_value < 0.001).values.tolist(), found.effect.values.tolist()
    ([[True, False], [False, False], [False, True]], ['a', 'b', 'a:b'])
    """
    check(data, trial=trial)
    if data.chunks is None:
        check(data, finite=True)
    if isinstance(factors, str) or len(factors) != 2:
        raise ValueError(f"factors={factors!r}; expected the names of two coords along {trial!r}")
    labels = [labels_along(data, name, [trial]).values for name in factors]
    columns = _contrasts(labels, factors, data)
    into: list[tuple[str, ...]] = [("effect",), ("effect",), ()]
    omega, p, rest = apply(_effects, data, over=[(trial,)], into=into, lazy={"effect": 3}, columns=columns)
    effects = {"effect": [*factors, ":".join(factors)]}
    if data.chunks is None and float(rest.max()) < 1e-12 and float(omega.max()) > 0:
        what = f"the trials of the same {factors[0]} and {factors[1]}"
        raise identical(data, what, ", so that every difference would look perfect")
    return dataset(
        data,
        describe(
            omega.assign_coords(effects).transpose("effect", ...), "omega_squared", "1", "share of variance explained"
        ),
        describe(p.assign_coords(effects).transpose("effect", ...), "p_value", "1", "p-value of the effect (F test)"),
    )


def _contrasts(labels: list[np.ndarray], factors: Sequence[str], data: xr.DataArray) -> list[np.ndarray]:
    """Design columns (trial, df) of the two main effects and the interaction, coded to sum to zero."""
    coded = []
    for values in labels:
        levels, codes = np.unique(values, return_inverse=True)
        basis = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
        coded.append(basis[codes])
    a, b = coded
    both = (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
    cells = set(zip(*(v.tolist() for v in labels), strict=True))
    expected = (a.shape[1] + 1) * (b.shape[1] + 1)
    if len(cells) < expected:
        raise ValueError(
            f"{factors[0]!r} and {factors[1]!r} cannot be told apart in {called(data)}: of {expected} "
            f"combinations {len(cells)} occur ({listed(sorted(cells, key=str))}); their effects need all of them"
        )
    if len(a) <= expected:
        raise ValueError(f"{called(data)} has {len(a)} trials for {expected} combinations; some need two or more")
    return [a, b, both]


def _effects(values: np.ndarray, columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Omega squared and p-value (..., effect) of `values` (..., trial), and the share of variance (...) left over."""
    n = values.shape[-1]
    rows = values.astype(float)
    rows = rows - rows.mean(-1, keepdims=True)
    total = (rows**2).sum(-1)
    full = _explained(rows, columns)
    df_within = n - 1 - sum(c.shape[1] for c in columns)
    within = (total - full).clip(0) / df_within
    omegas, ps = [], []
    for i, column in enumerate(columns):
        gain = (full - _explained(rows, columns[:i] + columns[i + 1 :])).clip(0)
        df = column.shape[1]
        varies = total > n * (1e-12 * np.abs(values).max(-1)) ** 2
        omegas.append(np.divide(gain - df * within, total + within, out=np.zeros_like(total), where=varies))
        ratio = np.divide(gain / df, within, out=np.where(varies, np.inf, 0.0), where=within > 1e-300)
        ps.append(stats.f.sf(ratio, df, df_within))
    rest = np.divide(within * df_within, total, out=np.zeros_like(total), where=total > 0)
    return np.stack(omegas, -1), np.stack(ps, -1), rest


def _explained(rows: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """Sum of squares of centred `rows` (..., trial) that the columns and a constant explain."""
    design = np.column_stack([np.ones(rows.shape[-1]), *columns])
    return ((rows @ np.linalg.qr(design)[0]) ** 2).sum(-1)
