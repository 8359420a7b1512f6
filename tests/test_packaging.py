"""What the project promises as a package: pinned versions, a whole wheel, a Binder that agrees, lean imports."""

from __future__ import annotations

import ast
import json
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import execute_notebooks
import nbformat
import pytest
import run_as_binder
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ip2lab

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_NAMES = {"libblas": None, "python": None, "matplotlib-base": "matplotlib", "pytorch-cpu": "torch"}


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


def test_citation_has_what_its_format_requires():
    """Its schema was checked once: the program that brings it needs an older jsonschema than Jupyter does."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    for work in (citation, *citation["references"]):
        names = [tuple(sorted(author.items())) for author in work["authors"]]
        assert len(set(names)) == len(names)  # two authors of one family name need their given names
    for reference in citation["references"]:
        assert {"type", "title", "authors", "doi"} <= set(reference)


def test_paper_has_its_sections_and_cites_what_its_bibliography_holds():
    paper = (ROOT / "paper.md").read_text()
    head, text = yaml.safe_load(paper.split("---")[1]), paper.split("---", 2)[2]
    assert {"title", "tags", "authors", "affiliations", "date", "bibliography"} <= set(head)
    wanted = ["Summary", "Statement of need", "State of the field", "Software design", "Research impact statement"]
    wanted += ["AI usage disclosure", "Acknowledgements", "References"]
    assert re.findall(r"^# (.*)$", text, re.MULTILINE) == wanted
    assert 750 <= len(text.split()) <= 1750
    listed = re.findall(r"^@\w+\{(\w+),$", (ROOT / head["bibliography"]).read_text(), re.MULTILINE)
    assert sorted(set(re.findall(r"@(\w+)", text))) == sorted(listed)
    assert (ROOT / "paper.bib").read_text().count("doi = {10.") == len(listed)


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_templates_are_forms_and_the_workflow_runs_what_ci_runs(path):
    content = yaml.safe_load(path.read_text())
    if path.parent.name == "workflows":
        steps = content["jobs"]["test"]["steps"]
        assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
        assert content["jobs"]["test"]["strategy"]["matrix"]["python"][0] in PROJECT["requires-python"]
    elif path.stem != "config":
        assert set(content) == {"name", "description", "labels", "body"}
        assert all(field["id"] and field["attributes"]["label"] for field in content["body"])


@pytest.mark.parametrize(("torch", "index"), [("", False), ("cpu", True)])
def test_make_takes_pytorch_for_cpus_where_asked(torch, index, tmp_path):
    command = ["make", "-n", "lab", f"TORCH={torch}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    installs = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert len(installs) == 2 and all("-c constraints.txt" in line for line in installs)
    assert all(("download.pytorch.org/whl/cpu" in line) is index for line in installs)


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
    source = (
        p for p in (ROOT / "ip2lab").rglob("*") if p.is_file() and p.suffix in (".py", ".pyi", ".js", ".css", ".typed")
    )
    expected = {path.relative_to(ROOT).as_posix() for path in source}
    assert "ip2lab/py.typed" in expected
    assert inside == expected


def test_sdist_builds_the_same_wheel(wheel, tmp_path):
    hatch = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t"]
    subprocess.run([*hatch, "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    assert (source / "docs" / "reference.rst").exists()  # what its tests read
    subprocess.run([*hatch, "wheel"], cwd=source, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


EVERY_MODULE = """
import importlib, pkgutil, ip2lab
for info in pkgutil.walk_packages(ip2lab.__path__, "ip2lab."):
    importlib.import_module(info.name)
print(ip2lab.__version__, ip2lab.__file__)
"""


@pytest.mark.slow
def test_wheel_installs_into_an_empty_environment_and_every_module_imports_without_a_warning(wheel, tmp_path):
    """What the package needs is lent by this environment, so that nothing is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    own = str(tmp_path / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", own, "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    first = "import ip2lab; print(ip2lab.__version__)"
    bare = subprocess.run([own, "-W", "error", "-c", first], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert bare.stdout.strip() == ip2lab.__version__, bare.stderr  # the name alone needs nothing
    lent = next(tmp_path.rglob("site-packages")) / "lent.pth"
    lent.write_text(sysconfig.get_path("purelib"))
    command = [own, "-W", "error", "-c", EVERY_MODULE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split()[:1] == [ip2lab.__version__], done.stderr
    assert done.stdout.split()[1].startswith(str(tmp_path)), done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_resolves_with_the_constraints(extra):
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-build-isolation", "-q"]
    done = subprocess.run(
        [*command, "-c", "constraints.txt", f".[{extra}]"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_lowest_versions_are_the_lower_bounds():
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    bounds = {
        f"{r.name}=={spec.version}"
        for r in requirements("lab", "communities", "dask").values()
        for spec in r.specifier
        if spec.operator == ">="
    }
    assert {line for line in lines if not line.startswith("#")} == bounds


WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numba", "holoviews", "bokeh", "ipywidgets", "anywidget"):
            raise ModuleNotFoundError(f"no {name} here")
sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.parametrize("module", ["ip2lab", "ip2lab.analysis", "ip2lab; ip2lab.analysis.curves.area"])
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


def test_binder_lands_on_the_index():
    for text in ((ROOT / "binder" / "postBuild").read_text(), (ROOT / "docs" / "binder.md").read_text()):
        assert "lab/tree/notebooks/index.ipynb" in text and "00_start_here.ipynb" not in text


def test_binder_start_hands_on_to_the_server():
    script = ROOT / "binder" / "start"
    assert script.stat().st_mode & stat.S_IXUSR
    done = subprocess.run([script, "printenv", *run_as_binder.settings()], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(run_as_binder.settings().values())


def as_binder(*names):
    done = subprocess.run(
        [sys.executable, "tools/run_as_binder.py", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {row["notebook"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs Linux with util-linux")
def test_index_runs_within_the_limits_of_binder():
    (row,) = as_binder("notebooks/index.ipynb").values()
    assert not row["torch"]
    assert row["resident_mb"] < row["address_mb"] < 2048


@pytest.mark.nightly
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs Linux with util-linux")
def test_every_notebook_runs_within_the_limits_of_binder():
    rows = as_binder()
    assert set(rows) == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {name for name, row in rows.items() if not row["torch"]} >= {
        "index",
        "10_learning_to_learn",
        "40_your_own_data",
    }


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
    assert "binder/start" in done.stdout  # wraps the server
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


RUNNERS = {"eval", "exec", "compile", "__import__", "literal_eval", "run_path", "run_module", "InteractiveInterpreter"}
READERS = {"ast", "code", "codeop", "dill", "cloudpickle", "joblib", "marshal", "pickle", "runpy", "shelve"}


def text_that_runs(source: str) -> list[str]:
    """Return what in a module's source could make code of text: calls and modules, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            names = [name for name in names if name.split(".")[0] in READERS]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method, of = node.func.attr, node.func.value
            harmless = (method == "compile" and isinstance(of, ast.Name) and of.id == "re") or not node.args
            names = [method] if method in RUNNERS and not harmless else []
        else:
            names = [node.id] if isinstance(node, ast.Name) and node.id in RUNNERS else []
        found += [f"line {node.lineno}: {name}" for name in names]
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "ip2lab").rglob("*.py")), ids=lambda path: path.stem)
def test_no_text_is_run(path: Path):
    found = text_that_runs(path.read_text())
    # numba keeps compiled functions pickled in its own cache folder, which nobody is given and nobody sends
    assert [one.partition(": ")[2] for one in found] == (["pickle"] if path.name == "compilation.py" else [])


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "run = exec",
        "builtins.exec(text)",
        "code = compile(text, '', 'eval')",
        "__import__(name)",
        "import ast",
        "from pickle import loads",
        "import builtins; builtins.__import__(name)",
        "data.eval(text)",
        "frame['a'].eval(text)",
    ],
)
def test_what_runs_text_is_found(line: str):
    assert text_that_runs(line)
