"""Make the pictures of docs/gallery.md, each from the lines above it: ``python tools/make_pictures.py [NAME ...]``.

Explorers are photographed in JupyterLab, with their controls, which needs a Chromium; all others are drawn by
matplotlib. A palette keeps the files small.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from pathlib import Path
from typing import Any

from photograph import photograph
from PIL import Image

from ip2lab.views.explorers.base import Explorer
from ip2lab.views.widget import export

DOCS = Path(__file__).parents[1] / "docs"
LARGEST = 150_000  # bytes
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n!\[\w+\]\(pictures/(?P<name>\w+)\.png\))?", re.DOTALL)


def value_of(code: str, names: dict[str, Any]) -> Any:
    """Run lines as a notebook's cell does, and return the value of the last one where it is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<gallery>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<gallery>", "eval"), names) if isinstance(last, ast.Expr) else None


def save(picture: bytes, name: str, width: int = 900) -> None:
    """Write docs/pictures/NAME.png, at most so wide, with at most 64 colours, and smaller where it would be large."""
    path = DOCS / "pictures" / f"{name}.png"
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    while True:
        image.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
        image.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < LARGEST:
            break
        width = int(0.9 * width)
    print(f"{path.name} {path.stat().st_size / 1000:.0f} kB", flush=True)


def main(wanted: list[str]) -> None:
    """Go through the page from top to bottom; without names, write every picture."""
    names: dict[str, Any] = {}
    before, explorers = "", {}
    for found in BLOCK.finditer((DOCS / "gallery.md").read_text()):
        shown = value_of(found["code"], names)
        before += found["code"]
        if not found["name"] or (wanted and found["name"] not in wanted):
            continue
        if isinstance(shown, Explorer):
            explorers[found["name"]] = before
        else:
            save(export.picture(shown, "png", dpi=100), found["name"])
    for name, picture in photograph(explorers).items() if explorers else ():
        save(picture, name, width=1200)


if __name__ == "__main__":
    main(sys.argv[1:])
