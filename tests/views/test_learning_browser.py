"""Learning, the slow level and live training in a real JupyterLab: rows, legends, the pointer, buttons."""

from __future__ import annotations

from typing import Any

import pytest

from views.test_browser import ask, caption, figure, lab, page  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CELLS = [
    """
import ip2lab
from ip2lab.views import LearningExplorer, LiveTraining, PlasticityExplorer
search = PlasticityExplorer([ip2lab.example(f"search_{name}") for name in ("association", "dms")])
search""",
    """
names = ("association", "association_rate", "dms", "dms_rate")
learning = LearningExplorer({name: ip2lab.example(name) for name in names})
learning""",
    'live = LiveTraining("association", problems=500, neurons=20)\nlive',
]


def box_of(page: Any, index: int, panel: int) -> dict[str, float]:  # noqa: F811
    """Where the data of a picture lie on the page."""
    plot = figure(page, index).locator(".ip2lab-plot").nth(panel)
    plot.evaluate("node => node.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(300)
    return plot.bounding_box()  # type: ignore[no-any-return]


def said(page: Any, pattern: str, timeout: int) -> None:  # noqa: F811
    """Wait until any caption says something."""
    captions = "[...document.querySelectorAll('.ip2lab-caption')]"
    page.wait_for_function(f"{captions}.some(c => /{pattern}/.test(c.textContent))", timeout=timeout)


def test_a_click_on_a_row_picks_a_configuration_everywhere(page: Any) -> None:  # noqa: F811
    box = box_of(page, 0, 0)
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"])  # the lowest row
    caption(page, 0, 0, "given up after round 0")
    picked = ask(page, "search.state['configuration']")
    assert ask(page, "list(search.controls['configuration'].options)[-1]") == picked


def test_another_search_is_shown_with_its_decision(page: Any) -> None:  # noqa: F811
    page.locator("select", has_text="dms").first.select_option(label="dms")
    caption(page, 0, 0, "chosen (")
    reason = ask(page, "search.search.attrs['reason']").strip("'")
    page.get_by_text(reason).first.wait_for(timeout=20_000)


def test_a_name_in_the_legend_switches_its_run(page: Any) -> None:  # noqa: F811
    figure(page, 1).locator("button", has_text="association_rate").first.click()
    page.wait_for_function("document.querySelectorAll('.ip2lab-off').length > 0", timeout=20_000)
    assert "association_rate" not in ask(page, "learning.state['shown']")
    figure(page, 1).locator("button", has_text="association_rate").first.click()
    page.wait_for_function("document.querySelectorAll('.ip2lab-off').length === 0", timeout=20_000)


def test_families_stand_side_by_side(page: Any) -> None:  # noqa: F811
    ask(page, "exec(\"learning.state = {'beside': 'family'}\")")
    caption(page, 1, 1, "dms")
    assert figure(page, 1).locator(".ip2lab-panel:visible").count() == 4


def test_the_pointer_is_followed(page: Any) -> None:  # noqa: F811
    page.get_by_label("follow the pointer").or_(page.locator("label", has_text="follow the pointer")).first.click()
    box = box_of(page, 1, 0)
    page.wait_for_timeout(500)
    for share in (0.5, 0.6, 0.7, 0.8):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_timeout(150)
    said(page, r"Loss within problem [1-5]\d", 20_000)


def test_a_training_grows_pauses_goes_on_and_stops(page: Any) -> None:  # noqa: F811
    page.locator("button.widget-button", has_text="Start").click()
    said(page, "in a trial of the first", 300_000)
    assert ask(page, "1 + 1") == "2"  # the notebook stays usable
    page.locator("button.widget-button", has_text="Pause").click()
    page.locator("button.widget-button", has_text="Resume").wait_for(timeout=20_000)
    page.wait_for_timeout(1500)  # it holds when it next says where it is
    before = ask(page, "(live._series.problem, live._series.trial)")
    page.wait_for_timeout(400)
    assert ask(page, "(live._series.problem, live._series.trial)") == before
    page.locator("button.widget-button", has_text="Resume").click()
    page.locator("button.widget-button", has_text="Stop").click()
    page.get_by_text("· stopped").first.wait_for(timeout=60_000)
    assert ask(page, "live.run.attrs['complete']") == "False"


def test_the_page_has_logged_no_error_and_requested_nothing_outside(page: Any) -> None:  # noqa: F811
    assert page.said == []
    assert page.outside == []
