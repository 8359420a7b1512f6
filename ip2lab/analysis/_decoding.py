"""Linear decoding, cross-validated by trial, with a null from permuted labels that costs little more than one fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import coords_of, dataset, labelled, names_of
from ip2lab.analysis._checks import check_classes, check_free, check_only
from ip2lab.analysis._labels import called, labels_along, levels, listed, ordered, sequence, without_gaps
from ip2lab.checks import checked

STRETCHES = 4  # of the trial, in each of which trials must differ
FEW_VALUES, FEW_ENTRIES = (
    64,
    10,
)  # data with few distinct values may coincide where fewer entries than this are not zero


@checked
def decode(
    data: xr.DataArray,
    label: str | xr.DataArray,
    *,
    feature: str = "neuron",
    trial: str | Sequence[str] = "trial",
    time: str | None = "time",
    across_time: bool = False,
    hold_out: str | xr.DataArray | None = None,
    folds: int = 5,
    permutations: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    r"""Read a label (stimulus, context, response) out of the population: when can it be, and how well.

    At each time a linear decoder is fitted on some trials and tested on others. It is least squares on one target per
    class, 1/p - 1 for members of a class that holds a share p of the trials and -1 for all others, with features
    standardised on the training trials and a ridge penalty equal to the mean eigenvalue of their inner products. Its
    predictions are linear in the labels, so that the permutation null comes at little extra cost.

    .. math:: \mathrm{score} = \frac{\text{balanced accuracy} - 1/k}{1 - 1/k}

    Parameters
    ----------
    data : xarray.DataArray
        (trial, time, feature), in any order: activity with noise. Noise-free probes of a network are alike whenever
        they are repeated, and are refused: ask `ip2lab.probe` for noisy repeats. Where a coord ``recorded`` is False
        nothing was recorded: each time is decoded from the trials recorded there.
    label : str or xarray.DataArray
        What to read out: a coord along the trials, or an array (trial), matched by the labels of the trials.
    feature : str
        The dim of the neurons.
    trial : str or sequence of str
        The dim of trials, or several that are trials together, such as ``("problem", "probe")``.
    time : str, optional
        The dim of time, or None if there is none.
    across_time : bool
        Also test the decoder of each time at all others.
    hold_out : str or xarray.DataArray, optional
        A second label of trials (``"condition"``, ``"problem"``): each of its values is left out of the fit in turn
        and tested, which asks whether the code carries over to what was never seen.
    folds : int
        Folds of the cross-validation, stratified by class, where `hold_out` is not given.
    permutations : int
        Number of label permutations. With `hold_out` labels are permuted within its values, or, where each of
        them has one class only, between them.
    seed : int
        Seed of folds and permutations, drawn over trials in the order of their labels, where they have any.

    Returns
    -------
    xarray.Dataset
        ``accuracy`` and ``score`` (time), with `across_time` (train_time, time). Beside them ``null_mean`` and
        ``null_upper`` (the 95% quantile) of the scores with permuted labels, ``p_value`` at each time and
        ``p_corrected`` against the largest score over all times; ``trials`` (time), the number recorded there. NaN at
        times at which a class is recorded in one fold only, or in none. attrs: ``classes``, ``chance`` (accuracy),
        ``same_as``, the other labels of the trials that say the same thing in other words.

    Raises
    ------
    ValueError
        Identical trials, one class only, numbers in place of classes, fewer trials of a class than `folds`, a class
        that is not seen when a value is held out, labels of trials that differ or repeat, a missing dim or coord, NaN.

    References
    ----------
    Bernardi et al., Cell 183:954-967 (2020), for held-out conditions; King and Dehaene, Trends Cogn Sci 18:203-210
    (2014), across time; Ojala and Garriga, JMLR 11:1833-1863 (2010), for the null.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(size=(60, 10, 8))
    >>> stimulus = np.arange(60) % 2
    >>> values[stimulus == 1, 5:] += 1.0
    >>> data = xr.DataArray(values, dims=("trial", "time", "neuron"), coords={"stimulus": ("trial", stimulus)})
    >>> found = population.decode(data, "stimulus")
    >>> bool(found.score[:5].mean() < 0.2), bool(found.score[5:].min() > 0.6)
    (True, True)
    """
    trials = names_of(trial)
    if across_time:
        if time is None:
            raise ValueError(f"across_time={across_time}, time=None: name the dim of time whose points train and test")
        check_free((time,), "train_time")
    check_only(data, gaps=True, feature=feature, time=time, **{f"trial{i or ''}": d for i, d in enumerate(trials)})
    own = ordered(data, *(str(dim) for dim in data.dims if dim != time))
    values, there = _trials_first(own, trials, time, feature)
    kept = there.sum(1) > 0
    classes, codes = _codes(data, label, trials, kept)
    rng = np.random.default_rng(seed)
    if hold_out is None:
        groups, held_out = _stratified(codes, classes, folds, rng), f"{folds} folds"
        within = np.zeros_like(codes)
    else:
        groups, held_out = _codes(data, hold_out, trials, kept)[1], _name(hold_out)
        _check_seen(codes, groups, classes, held_out)
        within = groups
    drawn = np.stack([codes, *(_permuted(codes, within, rng) for _ in range(permutations))])
    accuracy, score = _cross_validated(values[kept], there[kept], drawn, groups, len(classes), across_time)
    return _labelled_result(own, accuracy, score, there.sum(0), time, across_time).assign_attrs(
        classes=[str(c) for c in classes],
        chance=1 / len(classes),
        hold_out=held_out,
        same_as=_same_things(own, codes, trials, _name(label), kept),
    )


def _codes(
    data: xr.DataArray, label: str | xr.DataArray, trials: Sequence[str], kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Classes of the trials `kept` (in the order of the trials' labels), and the class of each."""
    labels = labels_along(data, label, trials)
    check_classes(labels)
    found, codes = levels(ordered(labels, *trials).values.ravel()[kept])
    if len(found) < 2:
        raise ValueError(f"all trials of {called(data)} that were recorded have {found[0]!s} for {_name(label)!r}")
    return found, codes


def _trials_first(
    data: xr.DataArray, trials: Sequence[str], time: str | None, feature: str
) -> tuple[np.ndarray, np.ndarray]:
    """Values (trial, time, feature) of `data`, 0 in gaps, and where there are none (trial, time).

    Refuses identical trials.
    """
    dims = (*trials, *([time] if time else []))
    data, mask = without_gaps(data, feature)
    n = math.prod(data.sizes[d] for d in trials)
    there = mask.transpose(*dims).values.reshape(n, -1)
    values = data.transpose(*dims, feature).values.reshape(*there.shape, -1)
    kept = there.sum(1) > 0
    refuse_identical(values.reshape(n, -1)[kept], data, trials)
    # conditions of a noise-free design may be alike for a while and differ later; so may counts, by chance
    if time and values.shape[1] > 1 and not _coarse(values):
        for stretch in np.array_split(sequence(data, time), min(STRETCHES, values.shape[1])):
            refuse_identical(values[kept][:, stretch].reshape(kept.sum(), -1), data, trials, few=True)
    return values.astype(float), there


def _name(label: str | xr.DataArray) -> str:
    return label if isinstance(label, str) else str(label.name or "label")


def _coarse(values: np.ndarray) -> bool:
    return values.dtype.kind in "biu" or np.unique(values.ravel()[:100_000]).size <= FEW_VALUES


def refuse_identical(rows: np.ndarray, data: xr.DataArray, trials: Sequence[str], *, few: bool = False) -> None:
    """Raise ValueError where two trials (trial, value) are the same to the last bit and cannot be so by chance.

    `few` is for stretches of trials: rows with next to nothing in them are passed over whatever their values are.
    """
    seen: dict[bytes, int] = {}
    coarse = _coarse(rows)
    for i, row in enumerate(np.ascontiguousarray(rows)):
        if np.count_nonzero(row) <= (FEW_ENTRIES if coarse or few else 0):
            continue  # silence, and a few spikes, may well come out the same twice
        j = seen.setdefault(row.tobytes(), i)
        if j != i:
            raise ValueError(
                f"trials {j} and {i} along {listed(trials)} of {called(data)} are identical to the last bit"
                f"{' for a quarter of the time or more' if few else ''}: a decoder that has seen one knows the other, "
                "and the score would mean nothing. Noise-free probes are all alike; give noisy repeats "
                "(ip2lab.probe(run, problem, repeats=...)) or leave out the copies"
            )


def _stratified(codes: np.ndarray, classes: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each trial, every class spread evenly."""
    counts = np.bincount(codes)
    if folds < 2 or counts.min() < folds:
        rare = classes[counts.argmin()]
        raise ValueError(
            f"folds={folds}, and the rarest class {rare!s} has {counts.min()} trials; every fold needs one of each: "
            f"give more trials or 2 <= folds <= {counts.min()}"
        )
    order = np.concatenate([rng.permutation(np.flatnonzero(codes == c)) for c in range(len(classes))])
    fold = np.empty(len(codes), int)
    fold[order] = np.arange(len(codes)) % folds
    return fold


def _check_seen(codes: np.ndarray, groups: np.ndarray, classes: np.ndarray, name: str) -> None:
    for group in np.unique(groups):
        inside = groups == group
        unseen = np.setdiff1d(codes[inside], codes[~inside])
        if unseen.size:
            raise ValueError(
                f"holding out a value of {name!r} leaves no trials of class {listed(classes[unseen])} to "
                "learn from: the two labels cannot be told apart in this design"
            )


def _permuted(codes: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels permuted within groups, or, where each group has one class, between whole groups."""
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    result = codes.copy()
    if all((codes[m] == codes[m[0]]).all() for m in members):
        return rng.permutation(np.array([codes[m[0]] for m in members]))[groups]
    for m in members:
        result[m] = rng.permutation(codes[m])
    return result


def _cross_validated(
    values: np.ndarray, there: np.ndarray, drawn: np.ndarray, groups: np.ndarray, k: int, across_time: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and score (draw, train time, test time) of `values` (trial, time, feature) for labels (draw, trial).

    Only trials that are `there` (trial, time) take part; NaN where too few of a class are.
    """
    enough = _enough(there, drawn[0], groups, k)
    one_hot = np.eye(k)[drawn]  # (draw, trial, class)
    hits = _hits(values, there, one_hot, groups, np.flatnonzero(enough), across_time)
    totals = np.einsum("ns,dnk->sdk", there.astype(float), one_hot)  # (test time, draw, class)
    totals, number, tested = (part[None] if across_time else part[:, None] for part in (totals, there.sum(0), enough))
    accuracy = hits.sum(-1) / np.maximum(number, 1)[..., None]
    classes = np.maximum((totals > 0).sum(-1), 1)
    balanced = np.divide(hits, totals, out=np.zeros_like(hits), where=totals > 0).sum(-1) / classes
    known = (enough[:, None] & tested)[..., None]
    accuracy, balanced = (np.where(known, part, np.nan) for part in (accuracy, balanced))
    return np.moveaxis(accuracy, -1, 0), np.moveaxis((balanced - 1 / k) / (1 - 1 / k), -1, 0)


def _hits(
    values: np.ndarray,
    there: np.ndarray,
    one_hot: np.ndarray,
    groups: np.ndarray,
    times: np.ndarray,
    across_time: bool,
) -> np.ndarray:
    """Trials read out right (train time, test time, draw, class), each group by a decoder fitted on the others."""
    n_times, (draws, _, k) = values.shape[1], one_hot.shape
    hits = np.zeros((n_times, n_times if across_time else 1, draws, k))
    for group in np.unique(groups):
        test, train = groups == group, np.zeros(0, bool)
        classes = one_hot[:, test].argmax(-1).T  # (trial, draw)
        for t in times:
            now = ~test & there[:, t]
            if not np.array_equal(now, train):
                train, targets = now, _targets(one_hot[:, now])
            at = slice(None) if across_time else slice(t, t + 1)
            tested = values[test, at].transpose(1, 0, 2)
            smoother = _smoother(values[train, t], tested)  # (test time, test trial, train trial)
            guess = (smoother @ targets).reshape(*smoother.shape[:2], draws, k).argmax(-1)
            right = (guess == classes) * there[test, at].T[..., None].astype(float)
            hits[t] += np.einsum("snd,dnk->sdk", right, one_hot[:, test])
    return hits


def _enough(there: np.ndarray, codes: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """Times (time,) at which each class is `there` (trial, time) in two folds, so that it can be learnt and tested."""
    folds = [[there[(groups == g) & (codes == c)].any(0) for g in np.unique(groups)] for c in range(k)]
    return (np.array(folds).sum(1) > 1).all(0)


def _targets(members: np.ndarray) -> np.ndarray:
    """What is to be predicted (trial, draw * class) for `members` (draw, trial, class)."""
    share = np.maximum(members.mean(1, keepdims=True), 1e-12)
    return (members / share - 1).transpose(1, 0, 2).reshape(members.shape[1], -1)


def _smoother(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The matrix from targets of `train` (trial, feature) to ridge predictions for `test` (..., trial, feature)."""
    mean, sd = train.mean(0), train.std(0)
    scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-12 * (1 + np.abs(mean)))
    x, new = (train - mean) * scale, (test - mean) * scale
    n, p = x.shape
    penalty = max((x**2).sum() / n, 1e-12)
    if n <= p:
        return np.linalg.solve(
            x @ x.T + penalty * np.eye(n), x @ np.swapaxes(new, -1, -2).reshape(-1, p, new.shape[-2])
        ).swapaxes(-1, -2)
    return new @ np.linalg.solve(x.T @ x + penalty * np.eye(p), x.T)


def _labelled_result(
    data: xr.DataArray,
    accuracy: np.ndarray,
    score: np.ndarray,
    trials: np.ndarray,
    time: str | None,
    across_time: bool,
) -> xr.Dataset:
    """The dataset of (draw, train time, test time) accuracies and scores; draw 0 has the labels as they are."""
    known = ~np.isnan(score[0])
    if not known.any():
        raise ValueError(
            f"{called(data)} was at no time recorded in two trials of each class that are in different folds; give "
            "more trials, or align them where more of them were recorded"
        )
    largest = score[1:, known].max(1)
    coords = coords_of(data, str(time))
    last: tuple[str, ...] = () if time is None else (time,)
    if across_time:
        dims: tuple[str, ...] = ("train_time", *last)
        coords |= {"train_time": coords[last[0]].rename({last[0]: "train_time"})} if coords else {}
    else:
        dims = last
        shape = (len(score), *score.shape[1:2][: len(dims)])
        accuracy, score, known = (part[..., 0] for part in (accuracy, score, known))
        accuracy, score, known = accuracy.reshape(shape), score.reshape(shape), known.reshape(shape[1:])
    null, n = score[1:], len(score)
    over = largest.reshape(-1, *[1] * (score.ndim - 1))
    parts = {
        "accuracy": (accuracy[0], "share of trials read out right"),
        "score": (score[0], "decoding score (0 at chance, 1 perfect)"),
        "null_mean": (null.mean(0), "mean score with permuted labels"),
        "null_upper": (np.quantile(null, 0.95, axis=0), "95% quantile of the score with permuted labels"),
        "p_value": ((1 + (null >= score[0]).sum(0)) / n, "p-value by permutation"),
        "p_corrected": ((1 + (over >= score[0]).sum(0)) / n, "p-value against the largest score over all times"),
    }
    described = [
        labelled(np.where(known, v, np.nan), dims, name, "1", text, coords) for name, (v, text) in parts.items()
    ]
    number = labelled(trials.reshape(trials.shape[: len(last)]), last, "trials", "1", "number of trials", coords)
    return dataset(data, *described, number)


def _same_things(
    data: xr.DataArray, codes: np.ndarray, trials: Sequence[str], name: str, kept: np.ndarray
) -> list[str]:
    """Other labels of the trials that go one to one with `codes`."""
    beside = [str(other) for other, coord in data.coords.items() if coord.dims and set(coord.dims) <= set(trials)]
    found = []
    for other in beside:
        if other in (name, *data.dims) or data[other].isnull().any():
            continue
        values, own = levels(labels_along(data, other, trials, least=1).values.ravel()[kept])
        pairs = np.unique(np.stack([codes, own]), axis=1)
        if pairs.shape[1] == len(np.unique(codes)) == len(values):
            found.append(other)
    return found
