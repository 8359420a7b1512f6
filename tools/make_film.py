"""Film an explorer in use, as the picture of README.md: ``python tools/make_film.py``. Needs a Chromium."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from photograph import film
from PIL import Image
from playwright.sync_api import Locator, Page

FILE = Path(__file__).parents[1] / "docs" / "pictures" / "explorer_in_use.gif"
CELL = """
import ip2lab
from ip2lab import views

explorer = views.PopulationExplorer(ip2lab.example("association"))
explorer.state = {"problem": 0, "time": 1000.0, "by": "stimulus"}
explorer
"""
POINTER = """at => { const body = document.body, old = document.getElementById('pointer');
  const dot = old ?? body.appendChild(document.createElement('div'));
  dot.id = 'pointer'; dot.style.cssText = `position: fixed; left: ${at[0] - 8}px; top: ${at[1] - 8}px; width: 16px;
    height: 16px; border-radius: 8px; background: #d7191cb0; z-index: 9999; pointer-events: none` }"""
LASSO = (
    (-0.02, -0.3),
    (0.14, -0.28),
    (0.16, 0.0),
    (0.14, 0.3),
    (-0.02, 0.3),
    (-0.03, 0.0),
)  # of the panel, from its middle


def use(page: Page, output: Locator) -> Iterator[None]:
    """Go through the series, draw a lasso round neurons, go through the trial."""
    yield from press(page, output, slider=0, keys=["ArrowRight"] * 4, frames=4)  # after 0, 1, 4, 19 and 59 problems
    plot = output.locator(".ip2lab-panel:visible").nth(2).locator(".ip2lab-plot")
    box = plot.bounding_box()
    assert box is not None
    corners = [(box["x"] + (0.78 + x) * box["width"], box["y"] + (0.45 + y) * box["height"]) for x, y in LASSO]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=6)
        page.evaluate(POINTER, corner)
        yield
    page.mouse.up()
    yield
    yield from press(page, output, slider=1, keys=["ArrowRight"] * 40, frames=8)


def press(page: Page, output: Locator, slider: int, keys: list[str], frames: int) -> Iterator[None]:
    """Press keys on a slider, and yield so many times on the way."""
    handle = output.locator(".noUi-handle").nth(slider)
    handle.focus()
    for i, key in enumerate(keys, 1):
        page.keyboard.press(key)
        if i * frames // len(keys) > (i - 1) * frames // len(keys):
            place = handle.bounding_box()
            assert place is not None
            page.evaluate(POINTER, [place["x"] + place["width"] / 2, place["y"] + place["height"] / 2])
            yield


def main() -> None:
    """Write the film: the first and the last frame stay, and a palette that all share keeps it small."""
    frames = [Image.open(io.BytesIO(one)).convert("RGB") for one in film(CELL, use)]
    for frame in frames:
        frame.thumbnail((1000, 2000), Image.Resampling.LANCZOS)
    palette = frames[-1].quantize(48, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [1500, *[450] * (len(small) - 2), 2500]
    small[0].save(FILE, save_all=True, append_images=small[1:], duration=times, loop=0, optimize=True)
    print(f"{FILE.name}: {len(small)} frames, {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
