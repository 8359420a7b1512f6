"""How excitable a neuron is with the properties it has now."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from ip2lab.analysis._arrays import dataset, describe, free, ms_per_unit, units_of, without
from ip2lab.analysis._checks import check
from ip2lab.analysis._labels import called, listed, match, pick, recorded
from ip2lab.checks import checked
from ip2lab.neuron import REFERENCE_STEP, SPIKING, Constants, constant_of, resting, step
from ip2lab.properties import Property

MOST_STEPS = 1_000_000  # of a simulation: more would seem to hang
NEEDED = ("tau_soma", "threshold")  # without these a neuron has no rate; all others may be neutral
STEADY = "tau_dendrite"  # the dendrite is taken to be where a constant input leads it


@checked
def fi_curve(
    properties: xr.Dataset,
    currents: npt.ArrayLike,
    *,
    feature: str = "neuron",
    dt: float = 1.0,
    duration: float = 2000.0,
) -> xr.Dataset:
    r"""Firing rate against a constant input, for every neuron as it is tuned now.

    The neuron of :func:`ip2lab.neuron.step` with its dendrite at the steady state :math:`d = g\,(I + b)`, simulated in
    steps of `dt`. Without adaptation and for small `dt` the rate is :math:`1/(\tau_s\ln\frac{d}{d-\vartheta})` above
    the rheobase :math:`\vartheta/g - b`. The dendrite's time constant changes how fast the rate is reached, not the
    rate.

    Parameters
    ----------
    properties : xarray.Dataset
        A run's ``/properties`` (..., feature), whole or at one problem: ``tau_soma`` (ms), ``threshold``, and the
        other properties of the spiking neuron (:data:`ip2lab.PROPERTIES`) where it has them.
    currents : array_like
        (current,): constant inputs, in the unit of the threshold.
    feature : str
        The dim of the neurons.
    dt : float
        Time step (ms); that of the run to see the neuron as it was trained.
    duration : float
        Simulated time (ms); the rate is that of the second half, after adaptation has settled.

    Returns
    -------
    xarray.Dataset
        ``firing_rate`` (..., feature, current) in Hz, from the first to the last spike of the second half, and
        ``rheobase`` (..., feature), the least input that makes the neuron fire (negative: it fires without any).

    Raises
    ------
    ValueError
        Missing properties or dim, values that are not positive, NaN, a `dt` or `duration` that is not positive.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> properties = xr.Dataset({"tau_soma": ("neuron", [20.0, 20.0]), "threshold": ("neuron", [1.0, 2.0])})
    >>> found = neurons.fi_curve(properties, [0.5, 1.5, 3.0], dt=0.1)
    >>> found.firing_rate.round(0).values.tolist(), found.rheobase.values.tolist()
    ([[0.0, 45.0, 123.0], [0.0, 0.0, 45.0]], [1.0, 2.0])
    """
    properties = properties.to_dataset() if isinstance(properties, xr.DataTree) else properties
    if not isinstance(properties, xr.Dataset):
        raise TypeError(f"expected a run's properties (xarray.Dataset), got {type(properties).__name__}")
    if not (dt > 0 and 10 * dt <= duration <= MOST_STEPS * dt):
        raise ValueError(
            f"dt: {dt}, duration: {duration} are not valid; give a positive step, and 10 to {MOST_STEPS:,} of them"
        )
    drive = _row(currents)
    values = _values(properties, feature)
    units = {"units": units_of(properties["threshold"]), "long_name": "constant input"}
    current = xr.DataArray(drive, dims="current", coords={"current": ("current", drive, units)})
    arrays = [a.transpose(..., feature, "current") for a in xr.broadcast(*values.values(), current)]
    *each, inputs = (a.values for a in arrays)
    rate = _simulate(dict(zip(values, each, strict=True)), inputs, dt=dt, steps=round(duration / dt))
    rheobase = values["threshold"] / values["gain"] - values["bias"]
    return dataset(
        properties,
        describe(arrays[0].copy(data=rate).drop_attrs(deep=False), "firing_rate", "Hz", "firing rate"),
        describe(rheobase, "rheobase", units["units"], "least input that makes the neuron fire"),
        dt=dt,
    )


def _row(currents: npt.ArrayLike) -> np.ndarray:
    try:
        drive = np.asarray(currents, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"currents: {currents!r} is not valid; give numbers in a row") from None
    if drive.ndim != 1 or not drive.size or not np.isfinite(drive).all():
        raise ValueError(f"currents has shape {drive.shape}; expected one or more finite values in a row")
    return drive


def _values(properties: xr.Dataset, feature: str) -> dict[str, xr.DataArray]:
    """The properties of the spiking neuron, checked; neutral where the network does not have one."""
    missing = [name for name in NEEDED if name not in properties]
    if missing:
        raise ValueError(f"the properties lack {listed(missing)}; they have {listed(properties.data_vars)}")
    found = {}
    for row in SPIKING:
        if row.name in properties:
            values = _value(properties, row, feature)
        else:  # what a time constant is matters only to a neuron that has what it belongs to
            neutral = row.homogeneous if row.unit == "ms" else row.neutral
            values = xr.full_like(properties["threshold"], neutral, dtype=float)
        found[row.name] = free(values.drop_attrs(deep=False), "current", "firing_rate", "rheobase")
    return found


def _value(properties: xr.Dataset, row: Property, feature: str) -> xr.DataArray:
    values = check(properties[row.name], feature=feature, finite=True)
    if not row.signed and ((values < 0).any() or (row.name in NEEDED and (values == 0).any())):
        raise ValueError(f"{row.name!r} holds {float(values.min()):g}; expected positive values")
    return values * ms_per_unit(values, called(values)) if row.unit == "ms" else values


def _simulate(values: dict[str, np.ndarray], current: np.ndarray, *, dt: float, steps: int) -> np.ndarray:
    """Rate (Hz) in the second half of `steps`, for arrays that share one shape."""
    decays = {row.name: np.exp(-dt / values[row.name]) for row in SPIKING if row.unit == "ms" and row.name != STEADY}
    used = values | decays | {STEADY: np.zeros_like(current)}
    constants = Constants(**{constant_of(row): used[row.name].astype(float) for row in SPIKING})
    state, scale = resting(constants, np.zeros(current.shape)), REFERENCE_STEP / dt
    count, first, last = (np.zeros(current.shape) for _ in range(3))
    for t in range(steps):
        state = step(state, current, constants, scale, lambda distance: distance > 0)
        if t >= steps // 2:
            first = np.where(state.spikes & (count == 0), t, first)
            last = np.where(state.spikes, t, last)
            count += state.spikes
    once = count == 1  # one spike in half the time: its interval is not known better
    span = np.where(once, steps - steps // 2, np.maximum(last - first, 1))
    return np.where(count > 0, (count - 1 + once) / (span * dt) * 1000.0, 0.0)


@checked
def relative_threshold(threshold: xr.DataArray, drive: xr.DataArray, *, feature: str = "neuron") -> xr.Dataset:
    r"""The threshold in units of what drives the neuron.

    .. math:: \frac{\vartheta}{\mathrm{SD}(d)},\qquad z = \frac{\vartheta-\langle d\rangle}{\mathrm{SD}(d)}

    A threshold that rises says little where the drive rises with it.

    Parameters
    ----------
    threshold : xarray.DataArray
        (..., feature), for instance ``run["properties"].threshold``.
    drive : xarray.DataArray
        (..., time, feature), for instance ``run["activity"].dendrite``. Mean and standard deviation are over all dims
        that `threshold` does not have, and where a coord ``recorded`` is not False. Both have the same neurons; of the
        threshold only what the drive has, too, is kept (problems whose activity was kept), which must be there.
    feature : str
        The dim of the neurons.

    Returns
    -------
    xarray.Dataset
        ``relative_threshold`` and ``distance`` (..., feature), in standard deviations of the drive; NaN where nothing
        of it was recorded.

    Raises
    ------
    ValueError
        A missing dim, labels of the drive that the threshold lacks, other neurons, NaN, a drive that does not vary.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> drive = xr.DataArray(np.tile([[0.0, 0.0], [2.0, 4.0]], (50, 1)), dims=("time", "neuron"))
    >>> found = neurons.relative_threshold(xr.DataArray([2.0, 2.0], dims="neuron"), drive)
    >>> found.relative_threshold.values.tolist(), found.distance.values.tolist()
    ([2.0, 1.0], [1.0, 0.0])
    """
    check(threshold, feature=feature, finite=True)
    check(drive, feature=feature, finite=True, gaps=True)
    over = [d for d in drive.dims if d not in threshold.dims]
    mask = recorded(drive)
    limit = threshold.drop_attrs(deep=False)
    heard = match(limit, drive if mask is None else drive.where(mask), feature)
    for dim in (str(d) for d in threshold.dims if d in drive.dims and d != feature):
        limit = pick(heard, limit, dim)
    if not over:
        raise ValueError(f"{called(drive)} has no dim besides {listed(threshold.dims)}; give it over time")
    heard = without(heard, *(dim for dim in limit.dims if dim in limit.coords))
    mean, sd = (part.drop_attrs(deep=False) for part in (heard.mean(over), heard.std(over)))
    constant = int((sd <= 1e-12 * np.abs(mean)).sum())
    if constant:
        raise ValueError(f"{constant} neurons of {called(drive)} have a constant drive; leave them out")
    return dataset(
        threshold,
        describe(limit / sd, "relative_threshold", "1", "threshold over the standard deviation of the drive"),
        describe((limit - mean) / sd, "distance", "1", "threshold above the mean drive, in its standard deviations"),
    )
