"""The live figure: its widget, its page side, and what leaves it as a file."""
