"""What single neurons are selective for: effect sizes of analyses of variance, and mutual information."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy import stats

from ip2lab.analysis._arrays import apply, dataset, describe, first_of, free
from ip2lab.analysis._blocks import blocks
from ip2lab.analysis._checks import check, check_finite, identical, not_finite, one_chunk
from ip2lab.analysis._labels import called, labels_along, levels, listed, recorded_values, sequence
from ip2lab.checks import checked

COLUMNS = 4096  # neurons x times worked on at a time
FEW = 16  # different responses of a neuron that are taken as they are for mutual information
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
        (..., trial, ...): activity with noise; all other dims (time, neuron) are kept. Where it has a coord
        ``recorded``, each time and neuron is judged by its recorded trials. May be backed by dask, for mutual
        information in one chunk along `trial`.
    label : str or xarray.DataArray
        A coord along the trials, or an array (trial), whose labels are matched with those of `data`.
    trial : str
        The dim of trials.
    measure : {"omega_squared", "mutual_information"}
        The share of variance, or the information in nats of the response: counts as they are, a neuron (and time) with
        more than 16 different values cut into four equally filled classes.
    shuffles : int
        Permutations of the labels whose mean information is subtracted.
    seed : int
        Seed of the permutations.

    Returns
    -------
    xarray.DataArray
        ``selectivity`` (...), without unit or in nats; 0 for a neuron that is constant or silent, NaN where fewer than
        two trials of a class were recorded.

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
    check(data, trial=trial, gaps=True)
    codes, k = _codes(data, label, trial)
    if measure == "omega_squared":
        result = _omega_squared(data, codes, k, trial)
        return describe(result, "selectivity", "1", "selectivity (omega squared)", data)
    _check_eager(data, trial)
    order = sequence(data, trial)

    def information(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(seed)
        place = order[np.isin(order, kept)]  # drawn in the order of the labels
        drawn = np.empty((1 + shuffles, len(codes)), int)
        drawn[:, place] = [codes[place], *(rng.permutation(codes[place]) for _ in range(shuffles))]
        few = np.bincount(codes[kept], minlength=k).min() < 2
        return np.full(len(values), np.nan) if few else _information(values, drawn[:, kept], k)

    (result,) = _over_trials(information, data, trial, 1)
    return describe(result, "selectivity", "nats", "selectivity (mutual information, shuffled subtracted)", data)


def _check_eager(data: xr.DataArray, trial: str) -> None:
    """Refuse what needs all trials at once; lazy data are looked at when they are computed."""
    one_chunk(data, trial)
    if data.chunks is None:
        check_finite(data)


def _codes(data: xr.DataArray, label: str | xr.DataArray, trial: str) -> tuple[np.ndarray, int]:
    """The class of each trial as a number, and how many classes there are."""
    classes, codes = levels(labels_along(data, label, [trial]).values)
    counts = np.bincount(codes)
    if counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]} of {label if isinstance(label, str) else label.name!r} has one trial in "
            f"{called(data)}; variance within a class needs two or more of each"
        )
    return codes, len(classes)


def _over_trials(
    core: Callable[[np.ndarray, np.ndarray], np.ndarray], data: xr.DataArray, trial: str, n: int
) -> list[xr.DataArray]:
    """The n numbers (column, n) that `core` finds from values (column, trial) of the trials kept, each (...).

    With gaps, all columns of which the same trials were recorded go together.
    """
    full = recorded_values(data.transpose(..., trial))

    def whole(values: np.ndarray) -> Any:
        columns = values.reshape(-1, values.shape[-1])
        found = np.empty((len(columns), n))
        heard = np.ones((1, columns.shape[-1]), bool) if full is None else full.reshape(columns.shape)
        patterns, which = np.unique(heard, axis=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            here = slice(None) if full is None else which.reshape(-1) == i
            found[here] = core(columns[here][:, pattern], np.flatnonzero(pattern)).reshape(-1, n)
        parts = tuple(part.reshape(values.shape[:-1]) for part in found.T)
        return parts if n > 1 else parts[0]

    made = apply(whole, data if full is None else data.compute(), over=[(trial,)], into=[()] * n, lazy={})
    return list(made) if n > 1 else [made]


def _omega_squared(data: xr.DataArray, codes: np.ndarray, k: int, trial: str) -> xr.DataArray:
    """Omega squared of `data`, which is gone through in blocks and never copied whole; NaN for too few trials."""
    mean, square, seen = _moments(data, codes, k, trial)
    if not np.isfinite(square).all():
        check(data, finite=True, gaps=True)  # names the place; else a sum of finite values overflowed
        raise not_finite(data)
    enough = (seen > 1).all(-1)
    within, between = square.sum(-1), _between(mean, seen)
    if not (within > 1e-12 * between)[enough].any() and (between > 0)[enough].any():
        raise identical(
            data, f"the trials along {trial!r} of each class", ", so that every difference would look perfect"
        )
    n_trials = seen.sum(-1)
    per_trial = within / np.maximum(n_trials - k, 1)
    scale = between + within + per_trial
    varies = between + within > n_trials * (1e-12 * np.abs(mean).max(-1)) ** 2
    omega = np.divide(between - (k - 1) * per_trial, scale, out=np.zeros(scale.shape), where=varies)
    left = first_of(data, trial)  # for its labels; lazy data are not computed
    return xr.DataArray(np.where(enough, omega, np.nan), dims=left.dims, coords=left.coords)


def _moments(data: xr.DataArray, codes: np.ndarray, k: int, trial: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sum of squares around it and number of trials, (..., class) of `data` (..., trial) where recorded."""
    moved = data.transpose(..., trial)
    full = recorded_values(moved)
    chunks = moved.chunks[-1] if moved.chunks is not None else (moved.shape[-1],)
    mean, square, seen = (np.zeros((*moved.shape[:-1], k)) for _ in range(3))
    start = 0
    for length in chunks:
        here = np.eye(k)[codes[start : start + length]]  # (trial, class)
        for place, block in blocks(moved.data[..., start : start + length], size=max(1, 2**18 // length)):
            heard = None if full is None else full[place][..., start : start + length]
            with np.errstate(invalid="ignore"):  # infinite values are refused by name below
                own, around, n = _class_moments(block, here, heard)
            before = seen[place]
            shift = own - mean[place]
            # moments of a union (Chan, Golub and LeVeque): before and here
            square[place] += around + shift**2 * (before * n / np.maximum(before + n, 1))
            mean[place] += shift * (n / np.maximum(before + n, 1))
            seen[place] += n
        start += length
    return mean, square, seen


def _class_moments(
    block: np.ndarray, here: np.ndarray, heard: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, sums of squares around them and numbers (..., class) of `block` (..., trial), classes `here`."""
    rows = block.astype(float) if heard is None else np.where(heard, block, 0.0)
    center = rows.mean(-1, keepdims=True)
    rows -= center
    if heard is not None:
        rows *= heard
    n = here.sum(0) if heard is None else heard.astype(float) @ here
    own = rows @ here / np.maximum(n, 1)
    around = (rows**2) @ here - n * own**2
    return np.where(n > 0, own + center, 0.0), around.clip(0), n


def _between(mean: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of squares between classes from their means (..., class)."""
    center = (mean * counts).sum(-1, keepdims=True) / np.maximum(counts.sum(-1, keepdims=True), 1)
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
    """Responses (column, trial) as small whole numbers: few values as they are, many in equally filled classes.

    Each column on its own: what a neuron says does not depend on its neighbours.
    """
    order = np.argsort(columns, axis=1)
    rises = np.diff(np.take_along_axis(columns, order, 1), axis=1) > 0
    ranks = np.zeros(columns.shape, int)
    np.put_along_axis(ranks, order[:, 1:], rises.cumsum(1), 1)
    many = rises.sum(1) >= FEW
    edges = np.quantile(columns[many].astype(float), np.arange(1, BINS) / BINS, axis=1).T
    ranks[many] = (columns[many][:, :, None] > edges[:, None, :]).sum(-1)
    return ranks


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
        (..., trial, ...): activity with noise; all other dims are kept. Where it has a coord ``recorded``, each time
        and neuron is judged by its recorded trials.
    factors : sequence of str
        Two coords along the trials whose combinations all occur.
    trial : str
        The dim of trials.

    Returns
    -------
    xarray.Dataset
        ``omega_squared`` and ``p_value`` (effect, ...); the effects are the two factors and ``"a:b"``, their
        interaction. A neuron that is constant or silent has 0 and 1; NaN where the recorded trials lack a combination.

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
    check(data, trial=trial, gaps=True)
    _check_eager(data, trial)
    if isinstance(factors, str) or len(factors) != 2:
        raise ValueError(f"factors: {factors!r} is not valid; give the names of two coords along {trial!r}")
    coded = [levels(labels_along(data, name, [trial]).values) for name in factors]
    columns = _contrasts(coded, factors, data)
    cells = np.ravel_multi_index([codes for _, codes in coded], [len(found) for found, _ in coded])

    def effects_of(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
        few = len(np.unique(cells[kept])) < cells.max() + 1 or len(kept) <= cells.max() + 1
        return np.full((len(values), 7), np.nan) if few else _effects(values, [c[kept] for c in columns])

    found = _over_trials(effects_of, free(data, "effect"), trial, 7)
    names = xr.DataArray([*factors, ":".join(factors)], dims="effect", name="effect")
    omega, p = (xr.concat(found[i : i + 3], names).transpose("effect", ...) for i in (0, 3))
    largest = float(omega.fillna(0).max()) if data.chunks is None else 0.0
    if largest > 0 and float(found[6].fillna(0).max()) < 1e-12:
        what = f"the trials of the same {factors[0]} and {factors[1]}"
        raise identical(data, what, ", so that every difference would look perfect")
    return dataset(
        data,
        describe(omega, "omega_squared", "1", "share of variance explained"),
        describe(p, "p_value", "1", "p-value of the effect (F test)"),
    )


def _contrasts(
    coded: list[tuple[np.ndarray, np.ndarray]], factors: Sequence[str], data: xr.DataArray
) -> list[np.ndarray]:
    """Design columns (trial, df) of the two main effects and the interaction, coded to sum to zero."""
    bases = [np.vstack([np.eye(len(found) - 1), -np.ones(len(found) - 1)])[codes] for found, codes in coded]
    a, b = bases
    both = (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
    cells = set(zip(*(found[codes].tolist() for found, codes in coded), strict=True))
    expected = (a.shape[1] + 1) * (b.shape[1] + 1)
    if len(cells) < expected:
        raise ValueError(
            f"{factors[0]!r} and {factors[1]!r} cannot be told apart in {called(data)}: of {expected} "
            f"combinations {len(cells)} occur ({listed(sorted(cells, key=str))}); their effects need all of them"
        )
    if len(a) <= expected:
        raise ValueError(f"{called(data)} has {len(a)} trials for {expected} combinations; some need two or more")
    return [a, b, both]


def _effects(values: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """Of `values` (column, trial) three times omega squared, three p-values and the share of variance left over."""
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
    return np.stack([*omegas, *ps, rest], -1)


def _explained(rows: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """Sum of squares of centred `rows` (..., trial) that the columns and a constant explain."""
    design = np.column_stack([np.ones(rows.shape[-1]), *columns])
    return ((rows @ np.linalg.qr(design)[0]) ** 2).sum(-1)
