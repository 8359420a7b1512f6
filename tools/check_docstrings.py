"""Hold every public function, class and method of ip2lab to the numpydoc standard; print what is wrong and exit 1.

A name is public when neither it nor its module starts with an underscore.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator

from numpydoc.validate import validate

import ip2lab

# What numpydoc calls each of these: https://numpydoc.readthedocs.io, "Validation".
EVERYWHERE = {"GL03", "GL06", "GL07", "GL08", "SS03", "PR02"}
# A function or class is also read alone: its parameters, what it returns, an example. A method has its class around it.
ALONE = EVERYWHERE | {"PR01", "PR03", "PR04", "PR06", "RT01", "RT03", "EX01"}


def public_names() -> Iterator[tuple[str, set[str]]]:
    """Yield the full name of everything public, with the codes it is held to."""
    for info in pkgutil.walk_packages(ip2lab.__path__, "ip2lab."):
        if "._" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            mine = getattr(thing, "__module__", None) == info.name
            if name.startswith("_") or not mine or not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            yield f"{info.name}.{name}", ALONE
            if inspect.isclass(thing):
                methods = (n for n, m in vars(thing).items() if inspect.isfunction(m) or isinstance(m, property))
                yield from ((f"{info.name}.{name}.{n}", EVERYWHERE) for n in methods if not n.startswith("_"))


def main() -> int:
    """Print one line a fault and return how many names have one."""
    faulty = 0
    for name, codes in public_names():
        report = validate(name)
        faults = [f"{code}: {text}" for code, text in report["errors"] if code in codes]
        faulty += bool(faults)
        for fault in faults:
            print(f"{report['file']}:{report['file_line']}: {name}: {fault}")
    return faulty


if __name__ == "__main__":
    sys.exit(min(main(), 1))
