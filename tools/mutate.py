"""Change one thing in a module, run its tests, see whether they notice: how much of what the code does is tested.

`python tools/mutate.py [--changes 100] [--seed 0] [MODULE ...]` draws that many changes from all that could be made in
a module (a comparison, a sum, a condition turned round, a number moved by one, a statement left out), makes each alone
in a copy of the checkout, and prints those that no test noticed. Texts are left as they are: the tests look for names
in an error, not for its wording. A change that alters nothing counts as unnoticed: read them.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = "not cold and not kills and not reader_beside and not second_writer and not another_process and not memory"
TESTS = {
    "ip2lab/records/chunks.py": ["tests/test_records.py", "tests/test_remote.py"],
    "ip2lab/records/stores.py": ["tests/test_records.py", "tests/test_remote.py"],
    "ip2lab/records/lock.py": ["tests/test_records.py"],
    "ip2lab/records/reading.py": ["tests/test_records.py", "tests/test_remote.py"],
    "ip2lab/records/writing.py": ["tests/test_records.py"],
    "ip2lab/training/trainer.py": [
        "ip2lab/training/trainer.py",
        "tests/test_learning.py",
        "tests/test_examples.py",
        "tests/test_matrix.py",
    ],
}
COMPARED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COUNTED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.Pow: ast.Mult,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """Yield what could stand in a node's place, None for nothing at all."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in COMPARED:
        new.ops[0] = COMPARED[type(new.ops[0])]()
        yield new
    elif (
        isinstance(new, ast.BinOp)
        and type(new.op) in COUNTED
        and not isinstance(new.left, ast.Constant | ast.JoinedStr)
    ):
        new.op = COUNTED[type(new.op)]()
        yield new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not):
        yield new.operand
    elif isinstance(new, ast.If | ast.IfExp | ast.While):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool | int):
        new.value = not new.value if isinstance(new.value, bool) else new.value + 1
        yield new
    elif isinstance(new, ast.AugAssign | ast.Raise) or (
        isinstance(new, ast.Expr) and not isinstance(new.value, ast.Constant)
    ):
        yield None


class Swap(ast.NodeTransformer):
    """Puts something else in the place of the node with a number."""

    def __init__(self, number: int, new: ast.AST | None) -> None:
        self.number, self.new, self.count = number, new, -1

    def visit(self, node: ast.AST) -> ast.AST:
        """Count through the nodes as :func:`places` does."""
        self.count += 1
        if self.count == self.number:
            return ast.Pass() if self.new is None else self.new
        return self.generic_visit(node)


def places(tree: ast.Module) -> list[tuple[int, int, ast.AST | None]]:
    """Return all changes that could be made: number of the node, line, and what would stand there."""
    found: list[tuple[int, int, ast.AST | None]] = []
    count = -1

    def walk(node: ast.AST, inside: bool) -> None:
        nonlocal count
        count += 1
        here = inside or isinstance(node, ast.FunctionDef)  # what stands outside of functions are tables and types
        if inside and not isinstance(node, ast.FunctionDef):
            found.extend((count, getattr(node, "lineno", 0), new) for new in changes(node))
        hints = [getattr(node, "annotation", None), getattr(node, "returns", None)]  # nobody runs those
        for child in ast.iter_child_nodes(node):
            walk(child, here and child not in hints)

    walk(tree, False)
    return found


def noticed(module: Path, text: str, tests: list[str], limit: float) -> bool:
    """Write a module anew, run its tests in a fork of this process, and put it back."""
    before = module.read_text()
    module.write_text(text)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            quiet = os.open("tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            chosen = ["-m", "not nightly and not slow", "-k", SLOW, "-p", "no:cacheprovider"]
            status = int(pytest.main(["-x", "-q", *chosen, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    until = time.monotonic() + limit
    try:
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status != 0
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True  # it hangs: somebody would notice
    finally:
        module.write_text(before)


def main() -> None:
    """Do as the module's text says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "checkout"
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copied / name)
        os.chdir(copied)
        sys.path.insert(0, str(copied))
        sys.dont_write_bytecode = True  # two changes within a second look alike to Python's cache
        os.environ |= {"PYTHONPATH": str(copied), "PYTEST_DEBUG_TEMPROOT": folder}
        for name in ("numba", "torch", "xarray"):  # long to import: once for all forks
            importlib.import_module(name)
        for name in asked.modules:
            module, tests = Path(name), TESTS[name]
            text = module.read_text()
            for _ in range(2):  # the first one compiles
                began = time.monotonic()
                if noticed(module, text, tests, 3600):
                    raise SystemExit(f"{name}: its tests fail as it is:\n{Path('tests.log').read_text()[-3000:]}")
            limit, all_of_them = 30 + 3 * (time.monotonic() - began), places(ast.parse(text))
            drawn = random.Random(asked.seed).sample(all_of_them, min(asked.changes, len(all_of_them)))
            missed = 0
            for number, line, new in drawn:
                changed = ast.unparse(ast.fix_missing_locations(Swap(number, new).visit(ast.parse(text))))
                if not noticed(module, changed, tests, limit):
                    missed += 1
                    became = "nothing" if new is None else ast.unparse(ast.fix_missing_locations(new)).splitlines()[0]
                    print(f"{name}:{line}: not noticed: {became}", flush=True)
            print(
                f"{name}: {len(drawn) - missed} of {len(drawn)} changes noticed ({len(all_of_them)} could be made)",
                flush=True,
            )


if __name__ == "__main__":
    main()
