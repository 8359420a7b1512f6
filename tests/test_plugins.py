"""Families from other packages: a real wheel, and packages that are broken in every way that was thought of."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ip2lab
from ip2lab.tasks import Epoch, family
from ip2lab.tasks.base import FAMILIES

MODULE = '''
from dataclasses import dataclass, replace

import numpy as np

from ip2lab.tasks import Family, family


@dataclass(frozen=True)
class Reversed(Family):
    """The response to stimulus k is that of the other one."""

    name = "reversed"

    def problem(self, seed):
        plain = family("association", stimulus=self.stimulus, delay=self.delay).problem(seed)
        return replace(plain, targets=np.where(plain.targets < 2, 1 - plain.targets, plain.targets))
'''
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "lab-of-others"
version = "1.0"

[project.entry-points."ip2lab.families"]
reversed = "lab_of_others:Reversed"
"""
Offer = Callable[..., None]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Give a function that puts a package with an entry point where Python finds it."""
    before, modules = dict(FAMILIES), set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def put(package: str, name: str, value: str, module: str = "") -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ip2lab.families]\n{name} = {value}\n")
        if module:
            (tmp_path / f"{package}.py").write_text(textwrap.dedent(module))

    yield put
    FAMILIES.clear()
    FAMILIES.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("others"):
            del sys.modules[name]


@pytest.mark.slow
def test_a_wheel_of_somebody_else_brings_a_family(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "lab_of_others").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "lab_of_others/__init__.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index", "--quiet"]
    build = [*pip, "wheel", *alone, "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run(build, check=True)
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([*pip, "install", *alone, "--target", str(target), str(wheel)], check=True)
    code = f"""
        import sys, warnings
        warnings.simplefilter("error")
        import ip2lab
        assert ip2lab.families()[-1] == "reversed"
        assert "lab_of_others" not in sys.modules  # a list imports nothing
        path = {str(tmp_path / "run")!r}
        ip2lab.train("reversed", problems=1, neurons=20, max_trials=60, path=path, progress=False)
        assert sys.modules["lab_of_others"].__file__.startswith({str(target)!r})
        print(ip2lab.family("reversed", delay=300).delay, ip2lab.families().count("reversed"))
    """
    again = f"""
        import sys, ip2lab
        run = ip2lab.resume({str(tmp_path / "run")!r}, problems=2, progress=False)
        print(run.attrs["family"], run["series"].sizes["problem"], "lab_of_others" in sys.modules)
    """
    for text, said in ((code, "300 1"), (again, "reversed 2 True")):
        path = os.pathsep.join([str(target), str(Path(ip2lab.__file__).parents[1])])
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text)],
            env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (result.stdout.strip(), result.returncode) == (said, 0), result.stderr


def test_a_family_is_loaded_when_it_is_asked_for(offer: Offer) -> None:
    offer("others_fine", "reversed", "others_fine:Reversed", MODULE)
    assert ip2lab.families()[-1] == "reversed"
    assert "others_fine" not in sys.modules
    made = family("reversed", delay=200.0)
    plain = family("association", delay=200.0).problem(3)
    assert (made.problem(3).targets[:, -1] == 1 - plain.targets[:, -1]).all()
    assert ip2lab.families().count("reversed") == 1
    with pytest.raises(TypeError, match=r"family 'reversed' has no setting 'dealy'; .*did you mean 'delay'\?"):
        family("reversed", dealy=1)


def test_no_package_takes_the_place_of_a_family_of_ours_or_of_the_users(offer: Offer) -> None:
    offer("others_dms", "dms", "others_dms:DMS", "raise RuntimeError('imported')")
    assert family("dms").problem(0).output_names == ("match", "non-match", "fixation")
    assert ip2lab.families().count("dms") == 1
    offer("others_steal", "stolen", "others_steal:Stolen", MODULE.replace('"reversed"', '"cd_dms"'))
    wording = (
        r"the family 'stolen' of the package others_steal cannot be used: TypeError: the name 'cd_dms' is that of ip"
    )
    with pytest.raises(ValueError, match=wording):
        family("stolen")
    assert family("cd_dms").problem(0).conditions == 8


def test_two_packages_with_one_name_are_both_named(offer: Offer) -> None:
    offer("others_one", "reversed", "others_one:Reversed", MODULE)
    offer("others_two", "reversed", "others_two:Reversed", MODULE)
    assert ip2lab.families().count("reversed") == 1
    with pytest.raises(
        ValueError, match=r"'reversed' is offered by others_(one and others_two|two and others_one); unin"
    ):
        family("reversed")


HEAD = """
from dataclasses import replace
import numpy as np
from ip2lab.tasks import Family, family
class Mine(Family):
    name = "mine"
    def problem(self, seed):
        plain = family("association").problem(seed)
        return """


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("", "ModuleNotFoundError: No module named 'others_bad'"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("x = 1", "AttributeError: module 'others_bad' has no attribute 'Mine'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def Mine(): pass", "TypeError: its entry point leads to <function Mine .*inherits ip2lab.tasks"),
        (HEAD.replace('"mine"', '"other"') + "plain", "has the name 'other'; expected that of its entry"),
        (HEAD + "plain.targets", r"TypeError: problem\(seed\) returned ndarray; expected ip2lab.tasks.Problem"),
        (HEAD + 'family("dms").problem(None)', r"problem\(0\) is another one each time"),
        (HEAD + "replace(plain, targets=plain.targets + 1)", "targets: from 1 to 3; outputs are"),
        (HEAD + "replace(plain, inputs=plain.inputs[:1])", r"inputs: float64 of shape \(1, 4, 11\)"),
        (HEAD + "replace(plain, labels={})", "labels: 'stimulus' is None; expected one for each of 2"),
    ],
)
def test_what_cannot_be_used_is_told_when_it_is_asked_for(offer: Offer, module: str, reason: str) -> None:
    before = dict(FAMILIES)
    offer("others_bad", "mine", "others_bad:Mine", module)
    assert "mine" in ip2lab.families()
    for _ in range(2):  # the second time Python has the module already
        with pytest.raises(ValueError, match=f"the family 'mine' of the package others_bad cannot be used: .*{reason}"):
            ip2lab.train("mine", problems=1, progress=False)
        assert before == FAMILIES
    assert family("dms").name == "dms"


def test_an_unknown_name_lists_those_of_packages_too(offer: Offer) -> None:
    offer("others_fine", "reversed", "others_fine:Reversed", MODULE)
    with pytest.raises(
        ValueError, match=r"unknown family 'revesed'; known: association.*reversed; did you mean 'reversed'"
    ):
        family("revesed")
    with pytest.raises(ValueError, match=r"unknown family 'x'; known: .*; define a family of your own before"):
        family("x")


@pytest.mark.parametrize(
    ("change", "error", "wording"),
    [
        ({"targets": np.zeros((2, 3), int)}, ValueError, r"targets: int64 of shape \(2, 3\); .* for 4 epochs"),
        ({"targets": np.zeros((2, 4))}, ValueError, r"targets: float64 of shape \(2, 4\); expected whole numbers"),
        ({"targets": np.full((2, 4), -1)}, ValueError, r"targets: from -1 to -1; outputs are 0 to 2"),
        ({"inputs": np.full((2, 4, 11), np.nan)}, ValueError, r"inputs: float64 of shape .*; expected finite numbers"),
        ({"input_names": ("a",) * 11}, ValueError, r"a, a.*: expected a name of its own for each input"),
        ({"input_names": ("a",)}, ValueError, r"inputs: .* expected finite numbers \(2, 4, 1\)"),
        ({"output_names": ("a", "b")}, ValueError, r"targets: from 0 to 2; outputs are 0 to 1"),
        ({"epochs": ("stimulus",) * 4}, TypeError, r"epochs: .* give ip2lab.tasks.Epoch\(name, duration\)"),
        ({"epochs": (Epoch("delay", 100),) * 4}, ValueError, r"epochs: delay, .*: none of them is scored"),
        ({"labels": {"stimulus": ["1", "2"], "response": ["1", "2"], "context": ["a"]}}, ValueError, "'context' is"),
    ],
)  # fmt: skip
def test_a_problem_that_does_not_fit_together_is_refused(change: dict, error: type[Exception], wording: str) -> None:
    plain = family("association").problem(0)
    with pytest.raises(error, match=wording):
        replace(plain, **change)
