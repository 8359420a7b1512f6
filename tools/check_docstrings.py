"""Hold the docstrings of ip2lab to the numpydoc standard; print what is wrong and exit 1.

What a module lists in ``__all__`` is read alone, in a help pane or on a page of the reference: it needs its
parameters, what it returns, and an example. Everything else without an underscore needs a docstring that is right as
far as it goes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys

from numpydoc.validate import validate

import ip2lab

# What numpydoc calls each of these is in its documentation under "Validation".
EVERYWHERE = {"GL03", "GL06", "GL07", "GL08", "SS03", "PR02"}
ALONE = EVERYWHERE | {"PR01", "PR03", "PR04", "PR06", "RT01", "RT03", "EX01"}


def names() -> dict[str, set[str]]:
    """Return the full name of every function, class and method to look at, with the codes it is held to."""
    found: dict[str, set[str]] = {}
    for info in pkgutil.walk_packages(ip2lab.__path__, "ip2lab."):
        importlib.import_module(info.name)
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "ip2lab"]:
        listed = {name: getattr(module, name) for name in getattr(module, "__all__", ())}  # some load when asked for
        own = {name: x for name, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__}
        for name, thing in (own | listed).items():
            if name.startswith("_") or not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            full = f"{thing.__module__}.{thing.__qualname__}"
            found[full] = found.get(full, EVERYWHERE) | (ALONE if name in listed else EVERYWHERE)
            if inspect.isclass(thing):
                # a function under another name is the default of a field
                own_functions = {n for n, m in vars(thing).items() if inspect.isfunction(m) and m.__name__ == n}
                methods = own_functions | {n for n, m in vars(thing).items() if isinstance(m, property)}
                found |= {f"{full}.{method}": EVERYWHERE for method in methods if not method.startswith("_")}
    return found


def inherits(name: str) -> bool:
    """Tell whether a class documents the parameters that it adds to those of its parent, which documents its own."""
    module, _, attribute = name.rpartition(".")
    thing = getattr(sys.modules.get(module), attribute, None)
    parent = thing.__base__ if inspect.isclass(thing) else None
    if thing is None or parent is None or not parent.__module__.startswith("ip2lab."):
        return False
    added = set(inspect.signature(thing).parameters) - set(inspect.signature(parent).parameters)
    return all(f"{parameter} : " in (inspect.getdoc(thing) or "") for parameter in added)


def main() -> int:
    """Print one line a fault and return how many there are."""
    faults = 0
    for name, codes in sorted(names().items()):
        report = validate(name)
        said = (report["docstring"] or "").lstrip().startswith("Return")  # a summary that says it needs no section
        for code, text in report["errors"]:
            if code in codes and not (code == "RT01" and said) and not (code == "PR01" and inherits(name)):
                print(f"{report['file']}:{report['file_line']}: {name}: {code}: {text}")
                faults += 1
    return faults


if __name__ == "__main__":
    sys.exit(min(main(), 1))
