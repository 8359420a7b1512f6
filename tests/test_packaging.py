"""What the project promises as a package: pinned versions, a whole wheel, a Binder that agrees, lean imports."""

from __future__ import annotations

import ast
import importlib
import re
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import execute_notebooks
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ip2lab

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_NAMES = {"libblas": None, "python": None, "matplotlib-base": "matplotlib", "pytorch-cpu": "torch"}
# Names that other people's notebooks are written against: one that disappears is a new major version.
PUBLIC = ("PROPERTIES", "families", "family", "models", "open_run", "train")


def requirements(*extras: str) -> dict[str, Requirement]:
    """Return what the package and these extras need, by canonical name."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    found = (Requirement(line) for line in lines)
    return {canonicalize_name(r.name): r for r in found if r.name != PROJECT["name"]}


def pins() -> dict[str, str]:
    """Return the version that constraints.txt has for each name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if not line.startswith("#")}


def python(code: str, *options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


def test_constraints_are_plain_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wrong = [
        line for line in lines if not line.startswith("#") and not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-z.]+", line)
    ]
    assert not wrong  # a host, a path or a build of one platform would tie the file to one machine


def test_build_tools_are_pinned():
    (line,) = re.findall(r"\$\(PIP\) ((?!-).*)", (ROOT / "Makefile").read_text())
    assert "hatchling" in line.split()
    assert set(line.split()) <= set(pins())


@pytest.mark.parametrize("name", requirements(*EXTRAS))
def test_every_dependency_is_pinned_within_its_range(name):
    assert requirements(*EXTRAS)[name].specifier.contains(pins()[name])


def test_analysis_needs_no_extra():
    """What analysis imports at its top, beyond the standard library, is a core dependency or one of theirs."""
    allowed = {"numpy", "xarray", "scipy", "sklearn", "pandas", "ip2lab", "__future__"} | sys.stdlib_module_names
    for path in (ROOT / "ip2lab" / "analysis").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None)]
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert {str(name).split(".")[0] for name in names} <= allowed, path.name


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == ip2lab.__version__
    assert f"## {ip2lab.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_code_of_the_readme_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    done = python(code, "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_the_package_whole_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = (p for p in (ROOT / "ip2lab").rglob("*") if p.is_file() and p.suffix in (".py", ".js", ".css", ".typed"))
    expected = {path.relative_to(ROOT).as_posix() for path in source}
    assert "ip2lab/py.typed" in expected
    assert inside == expected


def test_wheel_imports_without_a_warning_away_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import sys; sys.path.insert(0, '.'); import ip2lab; print(ip2lab.__version__, ip2lab.__file__)"
    done = python(code, "-W", "error", cwd=tmp_path)
    assert done.stdout.split() == [ip2lab.__version__, str(tmp_path / "ip2lab" / "__init__.py")], done.stderr


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_there_and_documented(name):
    assert name in ip2lab.__all__
    thing = getattr(ip2lab, name)
    assert (thing.__doc__ or "").strip()


def test_unknown_name_is_named():
    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it has .*train"):
        importlib.import_module("ip2lab").trian  # noqa: B018


WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numba", "holoviews", "bokeh", "ipywidgets", "anywidget"):
            raise ModuleNotFoundError(f"no {name} here")
sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.parametrize("module", ["ip2lab", "ip2lab.analysis"])
def test_import_needs_neither_torch_nor_numba_nor_any_view(module):
    done = python(f"{WITHOUT}import {module}")
    assert done.returncode == 0, done.stderr
    assert "no torch here" in python(f"{WITHOUT}import torch").stderr  # the refusal refuses


def conda_packages() -> dict[str, str]:
    listed = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    return dict(entry.split("=", 1) for entry in listed)


def test_binder_versions_agree_with_the_constraints():
    listed = conda_packages()
    shared = {conda: name for conda in listed if (name := CONDA_NAMES.get(conda, conda))}
    assert {conda: listed[conda] for conda in shared} == {conda: pins()[name] for conda, name in shared.items()}
    needed = requirements("lab", "communities")
    assert set(needed) <= set(shared.values())
    assert listed["python"] in PROJECT["requires-python"]  # 3.11, which the constraints were made for


def test_binder_post_build_is_executable_and_stops_at_an_error():
    script = ROOT / "binder" / "postBuild"
    assert script.stat().st_mode & stat.S_IXUSR
    assert "\nset -e\n" in script.read_text()
    assert "pip install --no-deps" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_binder_renders(tmp_path):
    """Repo2docker, which Binder runs, makes of binder/ what is meant; it needs no container engine for that."""
    pytest.importorskip("repo2docker", reason="jupyter-repo2docker is not installed: pip install '.[test]'")
    (tmp_path / "binder").mkdir()
    for part in (ROOT / "binder").iterdir():
        (tmp_path / "binder" / part.name).write_bytes(part.read_bytes())
    command = [
        sys.executable,
        "-m",
        "repo2docker",
        "--no-build",
        "--debug",
        "--user-id=1000",
        "--user-name=jovyan",
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "python=3.11" in done.stdout + done.stderr
    update = done.stdout.index('env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"')
    whole = done.stdout.index("src/ ${REPO_DIR}/")
    post_build = done.stdout.index("RUN ./binder/postBuild")
    assert update < whole < post_build  # the environment's layer comes first, so that a commit does not rebuild it
    assert done.stdout.rindex("USER ${NB_USER}", 0, post_build) > whole


def test_executed_notebook_keeps_only_what_a_reader_without_a_kernel_sees():
    output = nbformat.v4.new_output
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "a1"}, "text/plain": "PopulationExplorer()"}
    outputs = [
        output("stream", name="stdout", text="3 problems\n"),
        output("stream", name="stderr", text="0%|     | 0/3 [00:12<?]"),
        output("display_data", data=view),
        output("display_data", data={**view, "image/png": "iVBOR"}, metadata={"isolated": True}),
        output("display_data", data={"application/javascript": "start()", "text/html": "<script>start()</script>"}),
        output("execute_result", data={"text/html": "<div class='xr-wrap' id='9f3'>", "text/plain": "<xarray>"}),
        output("execute_result", data={"text/plain": "3"}),
    ]
    cell = nbformat.v4.new_code_cell("run", outputs=outputs, execution_count=1)
    cell.metadata.execution = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    cleaned = execute_notebooks.clean(notebook)
    kept = [o.get("text") or dict(o.data) for o in cleaned.cells[0].outputs]
    assert kept == [
        "3 problems\n",
        {"image/png": "iVBOR", "text/plain": "PopulationExplorer()"},
        {"text/plain": "<xarray>"},
        {"text/plain": "3"},
    ]
    assert "widgets" not in cleaned.metadata
    assert "execution" not in cleaned.cells[0].metadata
    nbformat.validate(cleaned)
