"""NeuronExplorer on a recorded run in a real JupyterLab: clicks, a lasso, colours, lesions."""

from __future__ import annotations

from typing import Any

import pytest

from views.test_browser import ask, figure, lab, page  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CELLS = [
    """
import ip2lab
from ip2lab.views import NeuronExplorer
explorer = NeuronExplorer(ip2lab.example("association"))
explorer.state = {"neuron": 0, "problem": 1}
explorer""",
]


def panel(page: Any, name: str) -> Any:  # noqa: F811
    return figure(page, 0).locator(f".ip2lab-panel[style*='{name}']")


def box_of(page: Any, name: str) -> dict[str, float]:  # noqa: F811
    """Where the data of a picture lie on the page."""
    plot = panel(page, name).locator(".ip2lab-plot")
    plot.evaluate("node => node.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(300)
    return plot.bounding_box()  # type: ignore[no-any-return]


def says(page: Any, name: str, text: str) -> None:  # noqa: F811
    """Wait until a panel says `text`."""
    found = f"document.querySelector(\".ip2lab-panel[style*='{name}']\").textContent.includes({text!r})"
    page.wait_for_function(found, timeout=60_000)


def test_all_pictures_appear(page: Any) -> None:  # noqa: F811
    says(page, "channels", "Input and output weights of neuron 0")  # the last one, drawn a moment later
    figure(page, 0).locator(".bk-Figure").nth(10).wait_for()


def test_a_click_on_a_line_picks_its_neuron_everywhere(page: Any) -> None:  # noqa: F811
    box = box_of(page, "over")
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"])
    page.wait_for_function(
        "!document.querySelector('.ip2lab-figure').textContent.includes('neuron 0:')", timeout=20_000
    )
    neuron = ask(page, "explorer.state['neuron']")
    for name in ("psth", "raster", "partners", "channels", "excitability"):
        says(page, name, f"of neuron {neuron}")
    ask(page, "exec('tau = explorer.properties.tau_dendrite.values[-6]', globals())")
    assert int(ask(page, "int((tau < tau[explorer.state['neuron']]).sum())")) > 85  # it was a click near the top


def test_a_click_on_a_partner_picks_it(page: Any) -> None:  # noqa: F811
    before = ask(page, "explorer.state['neuron']")
    box = box_of(page, "partners")
    page.mouse.click(box["x"] + 0.85 * box["width"], box["y"] + 0.3 * box["height"])
    page.wait_for_function(
        f"!document.querySelector('.ip2lab-figure').textContent.includes('neuron {before}:')", timeout=20_000
    )


def test_colours_come_with_a_legend(page: Any) -> None:  # noqa: F811
    page.locator("select", has_text="community").select_option(label="community")
    says(page, "over", "community 1")


def test_a_lasso_highlights_and_escape_lets_go(page: Any) -> None:  # noqa: F811
    box = box_of(page, "scatter")
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    for x, y in ((0.95, 0.2), (0.95, 0.7), (0.3, 0.7)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
    page.mouse.up()
    says(page, "over", "highlighted")
    assert len(ask(page, "explorer.state['selected']")) > len("[]")
    figure(page, 0).focus()
    page.keyboard.press("Escape")
    page.wait_for_function(
        "!document.querySelector('.ip2lab-figure').textContent.includes('highlighted')", timeout=20_000
    )
    assert ask(page, "explorer.state['selected']") == "[]"


def test_the_lesion_button_runs_the_network_with_a_busy_sign(page: Any) -> None:  # noqa: F811
    page.evaluate(
        """() => { window.seenBusy = false; const figure = document.querySelector('.ip2lab-figure');
        new MutationObserver(() => { window.seenBusy ||= figure.classList.contains('ip2lab-busy') })
          .observe(figure, {attributeFilter: ['class']}) }"""
    )
    page.get_by_role("button", name="lesions", exact=True).click()
    says(page, "lesion", "without neuron")
    assert page.evaluate("window.seenBusy")


def test_nothing_went_wrong_and_nothing_was_asked_for(page: Any) -> None:  # noqa: F811
    assert page.said == []
    assert page.outside == []
