"""Recipes: what a step prints, run as a program of its own, gives what the step itself gives."""

from __future__ import annotations

import datetime
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ip2lab import probes
from ip2lab.analysis import connectivity, curves, neurons, population
from ip2lab.views import plots, show, style
from ip2lab.views.explorers import learning
from ip2lab.views.explorers.recipe import MOST_BYTES, Recipe, Step, call, later, ref, step

HOSTILE = [
    "day1",
    "x'); import os #",
    "__import__('os').system('touch pwned')",
    "two\nlines",
    "'''\"\"\"",
    "back\\slash\\",
    "{braces}{0}%s",
    "naïve Ωmega 東京 \u2028 \ud800",
    "",
    " ",
    "1",
    "None",
    "problem",
]

text = st.one_of(st.sampled_from(HOSTILE), st.text())
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.complex_numbers(), st.binary())
times = st.one_of(
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    hnp.datetime64_dtypes().flatmap(hnp.from_dtype),
    hnp.timedelta64_dtypes().flatmap(hnp.from_dtype),
)
scalars = st.one_of(
    text,
    numbers,
    times,
    text.filter(lambda t: "\0" not in t).map(np.str_),
    st.one_of(hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64)), hnp.boolean_dtypes()).flatmap(
        hnp.from_dtype
    ),
)
arrays = hnp.arrays(
    st.one_of(
        hnp.integer_dtypes(),
        hnp.floating_dtypes(sizes=(16, 32, 64)),
        hnp.complex_number_dtypes(sizes=(64, 128)),
        hnp.boolean_dtypes(),
        hnp.datetime64_dtypes(),
        hnp.timedelta64_dtypes(),
        hnp.unicode_string_dtypes(),
        hnp.byte_string_dtypes(),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
keys = st.one_of(text, st.integers(), st.dates())
bounds = st.one_of(st.none(), st.integers(-9, 9))
values = st.recursive(
    st.one_of(scalars, arrays, st.builds(slice, bounds, bounds), st.builds(range, st.integers(-9, 9))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=6,
)


def ran(code: str, **given: Any) -> dict[str, Any]:
    """What a program leaves, run by itself."""
    space = dict(given)
    exec(compile(code.encode("utf-8", "strict"), "<program>", "exec"), space)
    return space


def alike(a: Any, b: Any) -> bool:
    """Whether two values are of one type and equal, NaN being NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(alike, a.values(), b.values()))
    if isinstance(a, (np.ndarray, np.generic)):
        same = a.dtype == b.dtype and a.shape == b.shape
        return same and (a.tobytes() == b.tobytes() or (a.dtype.kind in "fc" and np.array_equal(a, b, equal_nan=True)))
    return repr(a) == repr(b)


@given(values)
def test_a_value_is_written_as_a_program_that_gives_it(value: Any) -> None:
    recipe, steps = Recipe({}), {"found": value}
    assert alike(ran(recipe.code(steps, ["found"]))["found"], value)
    assert alike(recipe.value(steps, "found"), value)


@given(st.data())
def test_arithmetic_is_printed_with_the_parentheses_it_needs(data: st.DataObject) -> None:
    given = {"a": 3.0, "b": -7.0}
    leaves = st.one_of(st.sampled_from([ref("a"), ref("b")]), st.integers(-9, 9), st.floats(-9, 9))
    signs = st.sampled_from([operator.add, operator.sub, operator.mul])

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        pair = st.builds(lambda f, x, y: f(step(x), y), signs, inner, inner)
        return st.one_of(pair, inner.map(lambda x: -step(x)), inner.map(lambda x: step(x).real))

    made = step(data.draw(st.recursive(leaves, grown, max_leaves=12)))
    recipe, steps = Recipe(given), {"found": made}
    code = recipe.code(steps, ["found"])
    assert alike(ran(code, **given)["found"], recipe.value(steps, "found"))
    plain = str(made)
    assert eval(plain, dict(given)) == recipe.value(steps, "found")


@given(st.lists(values, max_size=3), st.dictionaries(text, values, max_size=3), text)
def test_what_is_given_to_a_function_arrives_and_is_printed(args: Any, kwargs: Any, label: str) -> None:
    def same(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    steps = {"found": ref("same")(*args, **kwargs), "item": {label: ref("found")}, "one": ref("item")[label][0]}
    recipe = Recipe({"same": same})
    expected = recipe.value(steps, "found")
    assert alike(expected, (tuple(args), kwargs))
    space = ran(recipe.code(steps, ["one"]), same=same)
    assert alike(space["found"], expected)
    assert alike(space["one"], tuple(args))


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (plots.raster, "from ip2lab.views import plots"),
        (learning.grouped, "from ip2lab.views.explorers import learning"),
        (style.span, "from ip2lab.views import style"),
        (show, "from ip2lab import views"),
        (neurons.selectivity, "from ip2lab.analysis import neurons"),
        (neurons.fi_curve, "from ip2lab.analysis import neurons"),
        (population.demix, "from ip2lab.analysis import population"),
        (connectivity.communities, "from ip2lab.analysis import connectivity"),
        (curves.exponential_fit, "from ip2lab.analysis import curves"),
        (probes.single_lesions, "from ip2lab import probes"),
        (xr.concat, "import xarray as xr"),
        (xr.Dataset, "import xarray as xr"),
        (np.degrees, "import numpy as np"),
    ],
)
def test_a_function_is_printed_with_its_public_home(function: Any, line: str) -> None:
    code = Recipe({}).code({"found": function}, ["found"])
    assert code.splitlines()[0] == line
    assert ran(code)["found"] is function


def test_every_public_function_of_analysis_and_pictures_has_a_home() -> None:
    for module in (population, neurons, connectivity, curves, plots):
        for name in module.__all__:
            assert str(step(getattr(module, name))) == f"{module.__name__.rpartition('.')[2]}.{name}"


def test_what_has_no_home_or_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match=r"lambda.* cannot be written as code; give a public function of a module"):
        step(lambda: 0)
    with pytest.raises(TypeError, match=r"DataArray cannot be written as code; give it to the recipe under a name"):
        step(xr.DataArray(0))
    with pytest.raises(TypeError, match=r"a time in UTC cannot be written"):
        step(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    with pytest.raises(ValueError, match=r"name: \"a; b\" is not valid|name: 'a; b' is not valid"):
        ref("a; b")
    with pytest.raises(AttributeError, match="has no attribute 'a b'"):
        getattr(ref("a"), "a b")
    with pytest.raises(NameError, match="no step is called 'b'; there are a"):
        Recipe({}).value({"a": ref("b")}, "a")
    with pytest.raises(ValueError, match="a step and a module are both called 'neurons'"):
        Recipe({}).code({"neurons": call(neurons.firing_rate, 0)}, ["neurons"])


def test_a_step_is_neither_true_nor_a_sequence() -> None:
    one = ref("a")
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(one)
    with pytest.raises(TypeError, match="not iterable"):
        list(one)
    with pytest.raises(TypeError):
        3 in one  # noqa: B015
    with pytest.raises(AttributeError):
        one.b = 3
    assert str(np.float64(2) - one) == "np.float64(2.0) - a"
    assert isinstance(np.float64(2) * one, Step)


def test_a_module_that_is_not_there_is_missed_only_where_it_is_needed() -> None:
    recipe, steps = Recipe({}), {"a": later("ip2lab.nowhere", "gone")(1)}
    assert recipe.code(steps, ["a"]) == "from ip2lab import nowhere\n\na = nowhere.gone(1)"
    with pytest.raises(ModuleNotFoundError, match=r"ip2lab\.nowhere"):
        recipe.value(steps, "a")


def test_a_recipe_evaluates_each_step_once_and_keeps_few_bytes() -> None:
    calls: list[int] = []
    recipe = Recipe({"load": lambda n: calls.append(n) or np.zeros(n)})
    steps = {"a": ref("load")(10), "b": ref("a") + 1, "c": ref("a") + ref("b")}
    assert recipe.missing(steps, "c") == {"a", "b", "c"}
    recipe.value(steps, "c")
    assert calls == [10]
    assert recipe.missing(steps, "c") == set()
    for n in range(2_000_000, 2_000_050):
        recipe.value({"a": ref("load")(n)}, "a")
    assert recipe._bytes <= MOST_BYTES
    assert sum(v.nbytes for v in recipe._kept.values()) <= MOST_BYTES


def test_results_of_values_that_only_look_alike_are_kept_apart() -> None:
    recipe = Recipe({"kind": lambda value: [type(value), value]})
    for value in (1, True, 1.0, "1", np.int64(1), np.str_("1"), [1], (1,), np.array([1]), np.array([1], "i4"), {1: 1}):
        assert alike(recipe.value({"a": ref("kind")(value)}, "a"), [type(value), value])


def test_no_label_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for label in HOSTILE:
        steps = {"data": {label: label}, "found": ref("data")[label], "made": call(xr.Dataset, ref("data"))}
        recipe = Recipe({})
        assert recipe.value(steps, "found") == ran(recipe.code(steps, ["found", "made"]))["found"] == label
    assert not list(tmp_path.iterdir())
