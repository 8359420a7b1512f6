"""A live figure sends what changed, once, and nothing that did not."""

from __future__ import annotations

from typing import Any

import bokeh
import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from ip2lab.views import plots, show
from ip2lab.views.style import lines, points, with_options
from ip2lab.views.widget.figure import Figure, loader


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[bytes]]]:
    messages: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(Figure, "send", lambda self, content, buffers=None: messages.append((content, buffers or [])))
    return messages


def drawn(colours: list[str]) -> hv.Overlay:
    paths = [np.array([[0.0, i], [1.0, i]]) for i, _ in enumerate(colours)]
    return with_options(
        hv.Overlay([lines(paths, ["x", "y"], colours), points([0.5], [0.5], ["x", "y"], ["#123456"])]),
        xlim=(0, 1),
        ylim=(0, 9),
    )


def test_one_update_sends_one_message_to_the_page(sent: list[Any]) -> None:
    figure = Figure({"a": drawn(["#111111"]), "b": drawn(["#222222"])})
    sent.clear()
    figure.update({"a": "new words"}, a=drawn(["#333333", "#444444"]), b=drawn(["#555555"]))
    ((message, buffers),) = sent
    assert message["captions"] == {"a": "new words"}
    assert not message["rebuilt"]
    assert len(message["ids"]) == len(buffers)
    assert len(figure._panels["a"].leaves[0].handles["source"].data["xs"]) == 2


def test_numbers_travel_as_bytes(sent: list[Any]) -> None:
    data = xr.DataArray(
        np.random.default_rng(0).random((500, 256)) < 0.5, dims=("time", "neuron"), coords={"time": np.arange(500.0)}
    )
    figure = Figure({"a": plots.raster(data)})
    sent.clear()
    figure.update(a=plots.raster(~data))
    ((message, buffers),) = sent
    assert sum(map(len, buffers)) >= 500 * 256
    assert len(message["patch"]) < 4000


def test_colours_follow_where_all_were_alike(sent: list[Any]) -> None:
    figure = Figure({"a": drawn(["#111111", "#111111"])})
    figure.update(a=drawn(["#111111", "#222222"]))
    leaf = figure._panels["a"].leaves[0].handles
    assert leaf["source"].data["colour"] == ["#111111", "#222222"]
    assert leaf["glyph"].line_color == "colour" or leaf["glyph"].line_color.field == "colour"


def test_lines_that_come_later_have_their_own_colour(sent: list[Any]) -> None:
    def picture(paths: list[np.ndarray]) -> hv.Overlay:
        return with_options(hv.Overlay([lines(paths, ["x", "y"], "#d9601a")]), xlim=(0, 1), ylim=(0, 1))

    figure = Figure({"a": picture([])})
    figure.update(a=picture([np.eye(2)]))
    assert figure._panels["a"].leaves[0].handles["glyph"].line_color == "#d9601a"


def test_updating_with_the_same_element_sends_no_data(sent: list[Any]) -> None:
    element = drawn(["#111111"])
    figure = Figure({"a": element})
    sent.clear()
    figure.update(a=element)
    assert "patch" not in sent[0][0]


def test_an_element_with_other_options_is_rebuilt(sent: list[Any]) -> None:
    figure = Figure({"a": drawn(["#111111"])})
    sent.clear()
    figure.update(a=drawn(["#111111"]).opts(backend="bokeh", xlabel="other words"))
    assert sent[0][0]["rebuilt"]
    assert figure._panels["a"].plot.state.xaxis[0].axis_label == "other words"


def test_ranges_follow_what_the_element_says(sent: list[Any]) -> None:
    figure = Figure({"a": drawn(["#111111"])})
    figure.update(a=drawn(["#111111"]).opts(backend="bokeh", xlim=(3, 5)))
    state = figure._panels["a"].plot.state
    assert (state.x_range.start, state.x_range.end) == (3, 5)


def test_limits_follow_the_data_where_nothing_is_said(sent: list[Any]) -> None:
    figure = Figure({"a": hv.Curve([1.0, 2.0])})
    figure.update(a=hv.Curve([10.0, 20.0]))
    state = figure._panels["a"].plot.state
    assert state.y_range.start < 10
    assert state.y_range.end > 20


def test_clicks_reach_the_handler_of_their_panel(sent: list[Any]) -> None:
    figure = Figure({"a": drawn(["#111111"]), "b": drawn(["#222222"])})
    seen: list[Any] = []
    figure.listen("b", "tap", lambda x, y: seen.append((x, y)))
    for panel in ("a", "b"):
        figure._hear(figure, {"event": "tap", "model": figure._panels[panel].plot.state.id, "x": 1.0, "y": 2.0}, [])
    assert seen == [(1.0, 2.0)]
    assert "tap" in figure._panels["b"].plot.state.subscribed_events


def test_bokeh_is_in_one_widget_only() -> None:
    first, second = show(hv.Curve([1, 2])), show(hv.Curve([2, 1]))
    assert first.loader is second.loader is loader()
    assert loader().version == bokeh.__version__
    assert sum(len(str(v)) for v in first.get_state().values()) < 60_000


def test_the_page_is_told_what_is_shown_now(sent: list[Any]) -> None:
    figure = Figure({"a": hv.Curve([1.0, 2.0])})
    figure.update({"a": "later"}, {"a": "nothing"}, a=hv.Curve([5.0, 6.0, 7.0]))
    page = figure._page()
    assert (page["captions"], page["notes"]) == ({"a": "later"}, {"a": "nothing"})
    assert b"".join(page["buffers"]).find(np.array([5.0, 6.0, 7.0]).tobytes()) >= 0
