"""The table of intrinsic properties: bounds, the transform between value and free parameter, and its refusals."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ip2lab import PROPERTIES
from ip2lab.networks import kernel_types, training_step
from ip2lab.networks.intrinsic import to_value
from ip2lab.properties import Property, hint, properties_of

NAMES = list(PROPERTIES)
POSITIVE = [name for name, row in PROPERTIES.items() if not row.signed]
DEPTH = Property("depth", "z", "depth of the reset", "1", (-2.0, 6.0), 1.0, (1.0, 1.0), 1.0, "tanh")  # a signed one
share = st.floats(1e-6, 1 - 1e-6)  # where a value lies between its bounds, on a logarithmic axis


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_table_is_complete(name):
    row = PROPERTIES[name]
    assert row.name == name
    assert row.symbol and row.label
    assert row.unit in ("ms", "1")
    assert (row.unit == "ms") == name.startswith("tau")
    assert row.bounds[0] < row.heterogeneous[0] <= row.heterogeneous[1] < row.bounds[1]
    assert row.signed or row.bounds[0] > 0
    assert row.bounds[0] < row.homogeneous < row.bounds[1]
    assert row.rate > 0


def test_the_documented_starts_and_rates():
    """What the design promises: the homogeneous short start, and a learning rate of its own for each property."""
    assert [PROPERTIES[name].homogeneous for name in ("tau_dendrite", "tau_soma", "threshold")] == [100, 20, 1]
    assert [PROPERTIES[name].rate for name in ("tau_dendrite", "tau_soma", "threshold")] == [10, 10, 0.3]
    assert PROPERTIES["tau_dendrite"].heterogeneous == (200, 4000)
    assert PROPERTIES["tau_soma"].heterogeneous == (10, 40)


@given(st.sampled_from(POSITIVE), share)
def test_value_to_free_and_back(name, where):
    row = PROPERTIES[name]
    value = row.bounds[0] * (row.bounds[1] / row.bounds[0]) ** where
    assert float(row.to_value(row.to_free(value))) == pytest.approx(value, rel=1e-9)


@given(st.sampled_from(NAMES), st.floats(-8, 8), st.floats(0.001, 8))
def test_values_rise_with_the_free_parameter_and_stay_within_bounds(name, free, step):
    row = PROPERTIES[name]
    low, high = row.to_value([free, free + step])
    assert row.bounds[0] < low < high < row.bounds[1]


@given(st.sampled_from(POSITIVE), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_no_free_parameter_leads_out_of_bounds(name, free):
    """A network that learns wildly keeps valid values: at worst it reaches a bound, in rounding."""
    row = PROPERTIES[name]
    value = float(row.to_value(free))
    assert row.bounds[0] * (1 - 1e-12) <= value <= row.bounds[1] * (1 + 1e-12)


def exact(row, free: float) -> float:
    """Compute the formula of the module's docstring with 40 digits."""
    with localcontext() as context:
        context.prec = 40
        if row.transform == "identity":
            return free
        if row.transform == "tanh":
            middle, half = sum(row.bounds) / 2, (row.bounds[1] - row.bounds[0]) / 2
            e = (2 * Decimal(free) / Decimal(half)).exp()
            return float(Decimal(middle) + Decimal(half) * (e - 1) / (e + 1))
        low, high = map(Decimal, row.bounds)
        ratio = high / low
        sigma = 1 / (1 + (-4 * Decimal(free) / ratio.ln()).exp())
        return float(low * (sigma * ratio.ln()).exp())


@pytest.mark.parametrize("row", [*PROPERTIES.values(), DEPTH], ids=lambda row: row.name)
def test_every_implementation_of_the_transform_is_the_formula(row):
    """Numpy, torch and the kernels against the formula in 40 digits; the kernels' slopes against autograd."""
    dt = 20.0
    free = np.linspace(-6, 6, 13)
    wanted = np.array([exact(row, z) for z in free])
    np.testing.assert_allclose(row.to_value(free), wanted, rtol=1e-13)
    leaf = torch.tensor(free, requires_grad=True)
    value = to_value(leaf, row)
    np.testing.assert_allclose(value.detach(), wanted, rtol=1e-13)
    for decays in (False, True) if not row.signed else (False,):
        one = np.ones(1)
        start, learns = np.zeros(1, np.int64), one > 0
        kind = np.array([kernel_types.TRANSFORMS.index(row.transform)])
        low, span = (row.bounds[0], row.log_range) if row.transform == "log" else (row.middle, row.half_range)
        transform = kernel_types.Transform(start, learns, kind, one * low, one * span, np.array([decays]), dt)
        values, slopes = np.zeros((2, 1, len(free)))
        training_step.set_values(free, transform, values, slopes, False)
        used = torch.exp(-dt / value) if decays else value
        np.testing.assert_allclose(values[0], used.detach(), rtol=1e-12)
        slope = torch.autograd.grad(used.sum(), leaf, retain_graph=True)[0]
        np.testing.assert_allclose(slopes[0], slope, rtol=1e-10)


@pytest.mark.parametrize("name", POSITIVE)
def test_in_the_middle_a_step_is_a_step_of_the_logarithm(name):
    row, h = PROPERTIES[name], 1e-5
    middle = math.sqrt(row.bounds[0] * row.bounds[1])
    assert float(row.to_free(middle)) == pytest.approx(0, abs=1e-12)
    assert np.diff(np.log(row.to_value([-h, h])))[0] == pytest.approx(2 * h, rel=1e-8)


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("wrong", ["low", "high", float("nan"), float("inf"), -1.0, 0.0])
def test_a_value_on_or_beyond_a_bound_is_refused_by_name(name, wrong):
    row = PROPERTIES[name]
    value = {"low": row.bounds[0], "high": row.bounds[1]}.get(wrong, wrong)
    with pytest.raises(ValueError, match=rf"{name}: .* outside its bounds; give values between .*\({row.unit}\)"):
        row.to_free([row.homogeneous, value])


def test_checking_leaves_the_input_as_it_was():
    values = np.array([1, 2, 3])
    checked = PROPERTIES["threshold"].check(values)
    checked[:] = 0
    assert values.tolist() == [1, 2, 3]


def test_unknown_property_lists_the_known_ones():
    with pytest.raises(KeyError, match="unknown property 'tau_axon'; known: bias, tau_dendrite, tau_soma, threshold"):
        PROPERTIES["tau_axon"]


def test_the_table_is_a_mapping_that_shows_itself():
    assert len(PROPERTIES) == len(NAMES) == len(set(NAMES))
    assert "gain" in PROPERTIES and "tau_axon" not in PROPERTIES
    assert all(name in repr(PROPERTIES) for name in NAMES)


def test_an_unknown_name_reads_as_text_and_says_which_one_is_meant():
    with pytest.raises(KeyError) as caught:
        PROPERTIES["tau_some"]
    text = str(caught.value)
    assert text.startswith("unknown property 'tau_some'; known: bias, tau_dendrite, ")
    assert text.endswith("; did you mean 'tau_soma'?")
    assert "mood" not in PROPERTIES and PROPERTIES.get("mood") is None
    assert hint("mood", PROPERTIES) == hint(3, PROPERTIES) == hint("x", []) == ""


@given(st.floats(-1.99, 5.99))
def test_a_signed_property_goes_there_and_back(value):
    assert float(DEPTH.to_value(DEPTH.to_free(value))) == pytest.approx(value, abs=1e-9)
    assert float(PROPERTIES["bias"].to_value(PROPERTIES["bias"].to_free(value))) == value


def test_other_bounds_hold_also_for_a_property_that_had_none():
    bias = PROPERTIES["bias"].within(-1, 2)
    assert bias.transform == "tanh" and bias.bounds == (-1, 2)
    with pytest.raises(ValueError, match=r"bias: 2 is outside its bounds; give values between -1 and 2"):
        bias.to_free(2.0)
    assert PROPERTIES["tau_soma"].within(20, 900).to_value(-1e9) == pytest.approx(20)


@pytest.mark.parametrize("wrong", [(3, 2), (2, 2), (-1, 3), (float("nan"), 3)])
def test_bounds_that_are_not_valid_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=r"bounds: .* are not valid for tau_soma; give two rising positive numbers"):
        PROPERTIES["tau_soma"].within(*wrong)


def test_which_properties_a_network_has_stands_in_the_table():
    assert properties_of("spiking") == ("bias", "tau_dendrite", "tau_soma", "threshold")
    assert properties_of("spiking", True, ["gain"])[-3:] == ("adaptation_strength", "tau_adaptation", "gain")
    assert properties_of("rate", True, ["gain"]) == ("bias", "tau")
