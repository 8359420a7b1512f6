"""Make the README's picture from two recorded runs: ``python tools/make_pictures.py``."""

from __future__ import annotations

from pathlib import Path

import ip2lab
from ip2lab import views

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Export what LearningExplorer shows of the recorded association runs."""
    runs = {
        "neurons learn": ip2lab.example("association"),
        "only synapses learn": ip2lab.example("association_nothing"),
    }
    explorer = views.LearningExplorer(runs)
    explorer.state = {"smooth": 1}
    print(explorer.export(DOCS / "learning_explorer.png"))


if __name__ == "__main__":
    main()
