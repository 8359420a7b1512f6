"""Whatever a label says, it is drawn as it stands: no tag, script or formula comes of it, and nothing fails on it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import holoviews as hv
import ipywidgets
import matplotlib
import pytest
import tqdm.notebook
from bokeh.embed.util import contains_tex_string
from bokeh.models.text import PlainText
from markupsafe import Markup

import ip2lab
from ip2lab import training, views
from ip2lab.training import runtime
from ip2lab.views import plots, show
from ip2lab.views.markup import as_text, legible
from ip2lab.views.style import KEY, plain
from ip2lab.views.widget.panel import Panel
from views.hostile import TEXTS, drawn, hostile_run, hostile_search

EVERYTHING = " ".join(TEXTS.values())
OWN = {"b", "br", "span", "style="}  # tags and attributes in what this package writes into a page
SVG = "{http://www.w3.org/2000/svg}"
SVG_TAGS = {"svg", "g", "defs", "style", "path", "use", "text", "tspan", "image", "clipPath", "rect", "metadata"}


class Outline(HTMLParser):
    """Collects tags, with their attributes, words and the contents of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [f"{name}=" for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        (self.scripts if self.tags[-1:] == ["script"] and self.cdata_elem else self.words).append(data)


def squeezed(text: str) -> str:
    return "".join(legible(text).split())


def strings(node: Any) -> list[str]:
    """Every text within what JSON holds."""
    if isinstance(node, str):
        return [node]
    children = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [text for child in children for text in strings(child)]


def models(node: Any) -> list[dict[str, Any]]:
    """Every model of a document in JSON."""
    children = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    own = [node] if isinstance(node, dict) and "attributes" in node else []
    return own + [one for child in children for one in models(child)]


def check_literal(document: Any) -> None:
    """No formula is left to be set in the models of a document."""
    for model in models(document):
        said = [model["attributes"].get(n) for n in ("axis_label", "title", "major_label_overrides")]
        if model["name"] not in ("PlainText", "Text"):
            said.append(model["attributes"].get("text"))
        if model["name"] == "Div":
            assert model["attributes"]["disable_math"]
            assert set(Outline(model["attributes"]["text"]).tags) <= OWN
            continue
        for text in (
            text for one in said if not isinstance(one, dict) or one.get("type") == "map" for text in strings(one)
        ):
            assert not contains_tex_string(text) or "PlainText" in json.dumps(said), (model["name"], text)


def check_svg(path: Path, *wanted: str) -> None:
    root = ElementTree.parse(path).getroot()
    for one in root.iter():
        tag = str(one.tag)
        assert not tag.startswith(SVG) or tag.removeprefix(SVG) in SVG_TAGS, tag
        for name, value in one.attrib.items():
            assert not name.lower().startswith("on")
            assert "href" not in name or value.startswith(("#", "data:image/png"))
    found = squeezed("".join(root.itertext()))
    for text in wanted:
        assert squeezed(text) in found


@pytest.fixture(scope="module")
def everything() -> dict[str, hv.Overlay]:
    return drawn(EVERYTHING)


def test_every_picture_is_tried(everything: dict[str, hv.Overlay]) -> None:
    assert everything.keys() == set(plots.__all__) - {"curve_limits", "rotate"} | {
        "move_marker",
        "highlight",
        "color_scale",
        "label_conditions",
    }


@pytest.mark.parametrize("name", TEXTS)
def test_every_picture_takes_every_text(name: str) -> None:
    for picture in drawn(TEXTS[name]).values():
        for entry in (leaf.label for leaf in picture if leaf.group == KEY):
            assert entry == legible(entry)


def test_bokeh_draws_no_formulas() -> None:
    found = 0
    for picture in drawn(TEXTS["formula"]).values():
        panel = Panel(picture)
        for model in panel.plot.state.references():
            found += isinstance(model, PlainText)
            for name in ("axis_label", "title", *(() if isinstance(model, PlainText) else ("text",))):
                value = getattr(model, name, None)
                assert not isinstance(value, str) or not contains_tex_string(value)
            overrides = getattr(model, "major_label_overrides", {})
            assert not any(isinstance(text, str) and contains_tex_string(text) for text in overrides.values())
    assert found > 40


def test_an_element_that_is_not_ours_is_drawn_as_it_stands() -> None:
    points = hv.Points([(0, 1)], ["$$x$$", TEXTS["script"]])
    state = show(points)._panels["picture"].plot.state
    assert state.xaxis[0].axis_label.text == "$$x$$"


def test_a_picture_rendered_by_holoviews_escapes_hostile_text(everything: dict[str, hv.Overlay]) -> None:
    for picture in (everything[name] for name in SOME):
        data, _ = hv.renderer("bokeh").components(picture)
        outline = Outline(data["text/html"])
        assert outline.tags == ["div", "div", "script"]
        assert "\ud800" not in data["text/html"]


SOME = ("bars", "over_time", "psth", "raster", "matrix", "learning_curves", "configuration_table", "trial_picture")


@pytest.mark.parametrize(
    ("picture", "text"),
    [*zip(SOME, ("image", "end", "formula", "mathtext", "control", "underscore", "quotes", "lines"), strict=True)],
)
def test_a_print_shows_hostile_text_as_text(picture: str, text: str, tmp_path: Path) -> None:
    text = TEXTS[text]
    figure = show({f"above {text}": drawn(text)[picture]})
    check_svg(figure.export(tmp_path / "print.svg"), f"above {text}", text)
    assert figure.export(tmp_path / "print.png").stat().st_size > 1000


def test_a_print_under_usetex_shows_hostile_text_as_text(tmp_path: Path) -> None:
    figure = show(drawn(TEXTS["mathtext"])["learning_curves"])
    with matplotlib.rc_context({"text.usetex": True, "axes.formatter.use_mathtext": True}):
        check_svg(figure.export(tmp_path / "print.svg"), TEXTS["mathtext"])


def test_an_exported_page_shows_hostile_text_as_text(everything: dict[str, hv.Overlay], tmp_path: Path) -> None:
    path = show({f"{name} {EVERYTHING}": picture for name, picture in everything.items()}).export(
        tmp_path / "page.html"
    )
    check_page(path, *(f"{name} {EVERYTHING}" for name in everything))


def check_page(path: Path, *wanted: str) -> None:
    outline = Outline(path.read_text(encoding="utf-8"))
    assert not {
        tag for tag in outline.tags if tag not in ("html", "head", "meta", "title", "style", "script", "body", "div")
    }
    assert set(outline.attributes) <= {"lang=", "charset=", "type=", "id=", "data-root-id=", "style="}
    (document,) = [json.loads(html.unescape(script)) for script in outline.scripts if script.strip().startswith('{"')]
    check_literal(document)
    blocks = [Outline(one["attributes"]["text"]) for one in models(document) if one["name"] == "Div"]
    said = squeezed("".join(word for block in blocks for word in block.words))
    for text in wanted:
        assert squeezed(text) in said
    assert not re.search(r"<script[^>]*\ssrc=", path.read_text(encoding="utf-8"))


def failing(text: str) -> Callable[..., Any]:
    def train(*_: Any, **__: Any) -> None:
        raise ValueError(text)

    return train


def live(text: str) -> views.LiveTraining:
    explorer = views.LiveTraining("association", problems=1, neurons=4)
    explorer.runs[text] = hostile_run(text, problems=3)
    explorer.start()
    explorer._thread.join()
    return explorer


MADE: dict[str, Callable[[str], Any]] = {
    "LearningExplorer": lambda text: views.LearningExplorer({text: hostile_run(text), f"{text} 2": hostile_run(text)}),
    "without names": lambda text: views.LearningExplorer([hostile_run(text), hostile_run(text, problems=4)]),
    "PopulationExplorer": lambda text: views.PopulationExplorer(hostile_run(text)),
    "NeuronExplorer": lambda text: views.NeuronExplorer(hostile_run(text)),
    "PlasticityExplorer": lambda text: views.PlasticityExplorer(
        {text: hostile_search(text), "b": hostile_search(text)}
    ),
    "LiveTraining": live,
}
STATES: dict[str, list[dict[str, Any]]] = {
    "LearningExplorer": [
        {"by": "model", "fit": True},
        {"by": "each run", "beside": "family", "smooth": 5},
        {"shown": []},
    ],
    "PopulationExplorer": [
        {"panels": [p.title for p in views.PopulationExplorer.PANELS], "by": "stimulus", "signal": "membrane"},
        {"method": "demixed", "order": "tau_soma", "x": "threshold", "selected": [1], "hidden": [0]},
    ],
    "NeuronExplorer": [
        {"colour": "selectivity stimulus"},
        {"colour": "end tau_soma", "panels": ["lesions", "one trial"]},
    ],
    "PlasticityExplorer": [{"search": "b"}, {"compare": False}],
}


def widgets(widget: Any) -> list[Any]:
    return [widget, *(one for child in getattr(widget, "children", ()) for one in widgets(child))]


def check_widgets(explorer: Any, text: str) -> None:
    """No control takes HTML or formulas, and what is written as HTML holds our own tags only."""
    found = widgets(explorer)
    for widget in found:
        assert not getattr(widget, "description_allow_html", False)
        assert not isinstance(widget, (ipywidgets.HTMLMath, ipywidgets.Label))
        if isinstance(widget, ipywidgets.HTML):
            assert set(Outline(widget.value).tags) | set(Outline(widget.value).attributes) <= OWN
        elif not isinstance(widget, ipywidgets.ToggleButton):
            assert squeezed(text) not in squeezed(str(getattr(widget, "description", "")))  # its formulas would be set
        assert json.dumps(widget.get_state(), default=repr, ensure_ascii=False).encode()
    said = [explorer.figure.captions, explorer.figure.notes, explorer.figure._page()["legends"]]
    assert json.dumps(said, ensure_ascii=False).encode()
    for caption in explorer.figure.captions.values():
        outline = Outline(caption)
        assert set(outline.tags) | set(outline.attributes) <= OWN
        assert not re.search(
            r"&nbsp;|<b>|&lt;", as_text(caption).replace(legible(text), "").replace(str(Markup(text)), "")[:40]
        )


@pytest.mark.parametrize("name", MADE)
def test_every_explorer_shows_hostile_text_as_text(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "train", failing(EVERYTHING))
    explorer = MADE[name](EVERYTHING)
    shown = []
    for state in [{}, *STATES.get(name, [])]:
        explorer.state = state
        explorer.settle()
        check_widgets(explorer, EVERYTHING)
        shown += [as_text(word) for word in explorer.figure.captions.values()]
        shown += [*explorer.figure.notes.values(), *strings(explorer.figure._legends | {"": ""})]
        shown += [word for legend in explorer.figure._legends.values() for word, _ in legend]
        shown += [as_text(w.value) for w in widgets(explorer) if isinstance(w, ipywidgets.HTML)]
    whole, short = squeezed(EVERYTHING), squeezed(plain(EVERYTHING)[:-1])  # names on an axis or in a legend are cut
    assert any(whole in squeezed(word) or short in squeezed(word) for word in shown)
    check_page(explorer.export(tmp_path / "page.html"))
    explorer.close()


@pytest.mark.parametrize("name", ["PopulationExplorer", "LearningExplorer"])
def test_the_print_of_an_explorer_shows_hostile_text_as_text(name: str, tmp_path: Path) -> None:
    text = "<i>$x_1" + TEXTS["control"]
    explorer = MADE[name](text)
    check_svg(explorer.export(tmp_path / "print.svg"), text)
    explorer.close()


def test_captions_are_text_unless_they_are_markup() -> None:
    curve = hv.Curve([1, 4, 2])
    assert show(curve, "<i>a</i> & b").captions == {"picture": "&lt;i&gt;a&lt;/i&gt; &amp; b"}
    assert show(curve, Markup("<i>a</i> &amp; b")).captions == {"picture": "<i>a</i> &amp; b"}
    figure = show({"<b>one</b>": curve})
    figure.update({"p0": "<script>"}, {"p0": "<b>\x00"})
    assert (figure.captions, figure.notes) == ({"p0": "&lt;script&gt;"}, {"p0": "<b>�"})


def test_the_html_of_xarray_escapes_hostile_text() -> None:
    run, search = hostile_run(EVERYTHING), hostile_search(EVERYTHING)
    for one in (run, run["activity"].to_dataset(), run["properties"]["tau_soma"], search):
        outline = Outline(one._repr_html_())
        assert not {"img", "script", "iframe", "a"} & set(outline.tags)
        assert not [name for name in outline.attributes if name.startswith("on")]


def test_the_progress_bar_shows_hostile_text_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Heard(ipywidgets.HTML):
        def __setattr__(self, name: str, value: Any) -> None:
            said.extend([value] if name == "value" else [])
            super().__setattr__(name, value)

    monkeypatch.setattr(tqdm.notebook, "HTML", Heard)
    monkeypatch.setattr(runtime, "tqdm", tqdm.notebook.tqdm)
    series: Any = SimpleNamespace(model=TEXTS["image"], parameters=1, problems=2, problem=1)
    with runtime.reporter(series, True):
        pass
    assert any("&lt;img" in text for text in said)
    assert not [tag for text in said for tag in Outline(text or "").tags]


def test_no_other_place_writes_tags() -> None:
    """Only one module of ours brings tags; a page takes HTML in one line."""
    folder = Path(ip2lab.__file__).parent
    tag = re.compile(r"</?(b|br|i|span|div|a|p)\b[^>\n]*>|&[a-z]+;")
    lines = ((path.name, line) for path in folder.rglob("*.py") for line in path.read_text().splitlines())
    assert {name for name, line in lines if tag.search(line)} == {"markup.py"}
    assert (folder / "views/widget/figure.js").read_text().count("innerHTML =") == 1
