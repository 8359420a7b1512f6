"""Run the Python of documentation pages; write what it prints into the ``text`` block that follows it, if there is one.

    python tools/run_pages.py README.md [docs/howto/resume.md ...]

A page is one program, from top to bottom, in an empty folder, warnings being errors.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
CUT = "---- next block ----"


def blocks(path: Path) -> list[tuple[str, str | None]]:
    """Return the code of each block of a page, and what the page says that it prints, or None."""
    return [(found["code"], found["output"]) for found in BLOCK.finditer(path.read_text())]


def run(path: Path) -> list[str]:
    """Run a page and return what each block printed; raises RuntimeError with the traceback where it fails."""
    program = f"\nprint({CUT!r})\n".join(code for code, _ in blocks(path))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.py").write_text(program)
        done = subprocess.run(
            [sys.executable, "-W", "error", "page.py"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or done.stderr:
        raise RuntimeError(f"{path.name}: {done.stderr}")
    return [printed.strip("\n") + "\n" for printed in done.stdout.split(CUT)]


def write(path: Path) -> None:
    """Put what the code prints where the page says it."""
    printed = iter(run(path))

    def filled(found: re.Match[str]) -> str:
        output = next(printed)
        return found[0] if found["output"] is None else f"```python\n{found['code']}```\n\n```text\n{output}```\n"

    path.write_text(BLOCK.sub(filled, path.read_text()))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
        print(name)
