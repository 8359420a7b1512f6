"""Print what an image for Binder holds, package by package, as the table in docs/binder.md: ``python tools/sizes.py``.

Counted are the files of each package as pip installed them here, with everything that it needs. Conda's packages are
built otherwise, so the sizes are near, not equal; torch here may be another build.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SMALLEST = 10  # MB, below which packages are one row
PIP_NAMES = {"matplotlib-base": "matplotlib", "pytorch-cpu": "torch"}


def needed(names: list[str], extra: str = "") -> set[str]:
    """Return the names of packages and, through all levels, of what they need here."""
    found: set[str] = set()
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                left.append(canonicalize_name(requirement.name))
    return found


@cache
def size(name: str) -> float:
    """Return what the files of an installed package take, in MB."""
    files = importlib.metadata.files(name) or []
    return sum(Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).is_file()) / 1e6


def main() -> None:
    """Print the table, largest first."""
    listed = re.findall(r"^  - ([\w-]+)=", (ROOT / "binder" / "environment.yml").read_text(), re.MULTILINE)
    names = [PIP_NAMES.get(name, name) for name in listed if name not in ("python", "libblas")]
    inside = needed(names)
    rows = sorted(inside, key=size, reverse=True)
    print("| package | MB |\n|---|---|")
    for name in (row for row in rows if size(row) >= SMALLEST):
        print(f"| {name} | {size(name):.0f} |")
    small = [size(name) for name in rows if size(name) < SMALLEST]
    print(f"| {len(small)} others below {SMALLEST} MB each | {sum(small):.0f} |")
    print(f"| **all {len(rows)}** | **{sum(map(size, rows)):.0f}** |")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    print("\n| left out | MB | packages it needs beyond the above |\n|---|---|---|")
    for extra in ("dask", "test", "lint", "docs"):
        asked = [Requirement(line).name for line in extras[extra]]
        more = needed([name for name in asked if name != "ip2lab"]) - inside
        print(f"| extra `{extra}` | {sum(map(size, more)):.0f} | {len(more)} packages |")


if __name__ == "__main__":
    main()
