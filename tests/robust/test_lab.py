"""What is let in: the lab answers this machine only, with a token; what lies around runs nothing and says no more."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import xarray as xr
from make_run import make_run

import ip2lab

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MARKER = 123456.6875  # a number that is in the run and in no picture
SPACE = ("http://www.w3.org/",)  # names of languages, never fetched


def make(target: str, **variables: str) -> str:
    """Return the commands of a target of the Makefile, without running them or what it needs."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    stamp = f"{variables['VENV']}/.installed-lab"
    command = ["make", "-n", "-o", stamp, target, *(f"{name}={value}" for name, value in variables.items())]
    alone = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }  # not as a part of `make test`
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run what `make lab` runs, with its files elsewhere; give its process and what it wrote down of itself."""
    command = make("lab", VENV=sys.prefix, PORT="0").replace(f"{ROOT}/.lab", str(tmp_path))
    assert shlex.split(command)[:1] == ["env"]
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(
        ["sh", "-c", command.strip() + " --no-browser"], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
    )
    for _ in range(480):
        found = [json.loads(path.read_text() or "{}") for path in (tmp_path / "runtime").glob("jpserver-*.json")]
        if found and found[0] and answer(found[0], "api/status", token=True) == 200:
            break
        assert server.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.25)
    yield server.pid, found[0]
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    log.close()


def answer(info: dict[str, Any], place: str, *, token: bool, data: bytes | None = None) -> int:
    """Return the status with which a server answers, 0 where it does not."""
    headers = {"Authorization": f"token {info['token']}"} if token else {}
    request = urllib.request.Request(f"{info['url']}{place}", headers=headers, data=data)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@pytest.mark.slow
def test_make_lab_listens_on_this_machine_only_and_asks_for_a_token(lab):
    psutil = pytest.importorskip("psutil")
    pid, info = lab
    assert len(info["token"]) >= 32
    assert not info["password"]
    for place in ("api/contents", "api/kernels", "lab", "api/terminals"):
        assert answer(info, place, token=False) in (403, 200 if place == "lab" else 403), place
        assert answer(info, place, token=True) == 200
    assert answer(info | {"token": "x" * len(info["token"])}, "api/contents", token=True) == 403
    assert answer(info, "api/kernels", token=False, data=b"{}") == 403
    assert answer(info, "api/kernels", token=True, data=b"{}") == 201
    server = psutil.Process(pid)
    seen = {
        connection.laddr.ip
        for process in [server, *server.children(recursive=True)]
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert seen == {"127.0.0.1"}  # the server, its kernel


def test_the_command_of_the_lab_names_this_machine_and_switches_nothing_off():
    words = shlex.split(make("lab", VENV=".venv", PORT="1234"))
    assert "--ip=127.0.0.1" in words
    assert not [word for word in words if re.search(r"token=|password|disable_check|allow_origin|allow_remote", word)]


# ---------------------------------------------------------------- what lies around


class Tags(HTMLParser):
    """What a page would run or fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.found: list[str] = []
        self._kind: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script":
            self._kind = given.get("type", "")
            self.scripts.append((self._kind, ""))
        if tag in ("iframe", "object", "embed", "link", "base", "form", "applet", "frame"):
            self.found.append(tag)
        for name, value in given.items():
            fetched = name in ("src", "href", "data", "action", "srcset", "xlink:href", "poster", "background")
            if name.startswith("on") or (fetched and not value.startswith(("data:image/", "#"))):
                self.found.append(f"{tag} {name}={value[:60]}")

    def handle_data(self, data: str) -> None:
        if self._kind is not None:
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._kind = None


def outside(text: str) -> list[str]:
    """Return the addresses in a text, but for names of languages."""
    found = re.findall(r"(?:https?:|wss?:|ftp:|javascript:)?//[a-zA-Z][\w.-]+\.\w+[^\s\"'<>)\\]*", text)
    return [address for address in found if not address.startswith(SPACE)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_runs_and_fetches_nothing_when_it_is_opened(path):
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "jupyter", "editable", "slideshow", "name"}, cell.metadata
        if cell.cell_type == "markdown":
            page = Tags(cell.source)
            assert not page.scripts
            assert not [each for each in page.found if not each.startswith("a href=")]
            assert not re.search(r"!\[[^\]]*\]\(\s*(https?:|//)", cell.source), "a picture from elsewhere"
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            assert set(data) <= {"image/png", "text/plain", "text/html"}
            page = Tags(data.get("text/html", ""))
            assert (page.scripts, page.found) == ([], [])
            assert not re.search(r"url\(|@import|expression\(", data.get("text/html", ""))


@pytest.fixture(scope="module")
def marked() -> xr.DataTree:
    """A run with a number and words in it that belong to no picture."""
    run = make_run(problems=8, neurons=12, steps=25, repeats=2)
    run.attrs["title"] = "a secret title"
    trials = run["trials"].to_dataset()
    run["trials"] = xr.DataTree(trials.assign(response_loss=trials.response_loss * 0 + MARKER))
    return run


EXPLORERS = ["LearningExplorer", "PopulationExplorer", "NeuronExplorer", "PlasticityExplorer", "LiveTraining"]


@pytest.fixture
def shown(marked: xr.DataTree, request: pytest.FixtureRequest) -> Any:
    """An explorer, of data with a number and words that belong to no picture."""
    from ip2lab import views

    if request.param == "PlasticityExplorer":
        search = ip2lab.example("search_association").assign(unseen=((), MARKER))
        return views.PlasticityExplorer({"a search": search.assign_attrs(title="a secret title")})
    if request.param != "LiveTraining":
        return getattr(views, request.param)(marked)
    small = {"problems": 2, "neurons": 12, "max_trials": 40, "window": 10}
    live = views.LiveTraining("association", property_learning_rate={"tau_soma": MARKER}, **small)
    live.start()
    live.wait(300)
    return live


def arrays(value: Any) -> Iterator[np.ndarray]:
    """Give the arrays of numbers in the JSON of a page of Bokeh's."""
    if isinstance(value, dict):
        if value.get("type") == "ndarray" and isinstance(value["array"], dict):
            raw = base64.b64decode(value["array"]["data"])
            raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            yield np.frombuffer(raw, np.dtype(value["dtype"]))
        for each in value.values():
            yield from arrays(each)
    elif isinstance(value, list):
        numbers = [each for each in value if isinstance(each, (int, float))]
        if numbers:
            yield np.array(numbers, float)
        for each in value:
            yield from arrays(each)


@pytest.mark.parametrize("shown", EXPLORERS, indirect=True)
def test_an_exported_page_runs_bokeh_only_and_holds_the_picture_only(shown, tmp_path):
    from bokeh.resources import INLINE

    page = shown.export(tmp_path / "page.html").read_text(encoding="utf-8")
    own = {text.strip() for text in INLINE.js_raw}
    tags = Tags(page)
    assert tags.found == []
    documents, rest = [], []
    for kind, text in tags.scripts:
        if kind == "application/json":
            documents.append(json.loads(text))
        elif text.strip() not in own:
            rest.append(text)
    assert len(tags.scripts) - len(documents) - len(rest) >= 1  # BokehJS itself, as it was installed
    assert len(rest) == 1
    assert "embed_items" in rest[0]
    assert len(rest[0]) < 4000  # the few lines that show the document
    left = page
    for text in own:
        left = left.replace(text, "")
    assert outside(left) == []
    assert "secret" not in left
    drawn = [values for document in documents for values in arrays(document)]
    assert sum(values.size for values in drawn) > 20
    assert not any(np.any(np.isclose(values.astype(float), MARKER)) for values in drawn)


def test_a_number_in_a_picture_is_found_in_its_exported_page(tmp_path):
    """The marker drawn is the marker found: what the test above looks for is there to be seen."""
    import holoviews as hv

    from ip2lab.views import show

    path = show(hv.Curve([(0.0, 1.0), (1.0, MARKER)])).export(tmp_path / "page.html")
    found = [json.loads(text) for kind, text in Tags(path.read_text()).scripts if kind == "application/json"]
    assert any(np.any(np.isclose(values.astype(float), MARKER)) for each in found for values in arrays(each))


@pytest.mark.parametrize("shown", EXPLORERS, indirect=True)
def test_an_exported_drawing_holds_no_script(shown, tmp_path):
    text = shown.export(tmp_path / "page.svg").read_text(encoding="utf-8")
    body = text[text.index("<svg") :]
    page = Tags(body)
    assert page.scripts == []
    assert page.found == []
    assert "secret" not in text
    assert "<script" not in text
