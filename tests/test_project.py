import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from run_scripts import write_requirements
from tests import conftest

ROOT = write_requirements.ROOT
# As CONTRIBUTING.md says.
MAX_FUNCTION_LINES = 50
LIBRARY = ("noisy_student_tf", "data_prep", "run_scripts", "study")

BASE = {
    "configs",
    "files",
    "heaps",
    "recipes",
    "records",
    "retries",
    "terminal",
    "texts",
    "workdirs",
}
PARTS = (
    "evaluation",
    "model",
    "pipeline",
    "pseudo_labels",
    "serving",
    "training",
)
# What a room may import, itself aside.
ALLOWED_IMPORTS = {
    "files": {"retries"},
    "configs": set(),
    "heaps": {"files", "records.shards"},
    "recipes": {"configs"},
    "records": {"files"},
    "retries": set(),
    "terminal": {"files"},
    "texts": set(),
    "workdirs": {"configs", "files", "recipes", "records.shards"},
    "devices": BASE,
    **{part: BASE for part in PARTS},
    "training": BASE | {"devices"},
    "weights": BASE | {"model"},
    "report": BASE | {"evaluation"},
    "review": BASE | {"evaluation", "model", "pipeline"},
    "data_prep": BASE | {"pipeline.decode", "pipeline.decoders"},
    "stages": BASE.union(PARTS) | {"data_prep", "devices", "weights"},
    "planning": BASE
    | {
        "data_prep",
        "evaluation",
        "model",
        "pseudo_labels",
        "training",
        "weights",
    },
    "self_training": BASE | {"report", "stages"},
    "study": BASE
    | {
        "devices",
        "evaluation",
        "model",
        "pipeline",
        "planning",
        "report",
        "run_scripts",
        "weights",
    },
    "run_scripts": BASE
    | set(PARTS)
    | {
        "devices",
        "planning",
        "report",
        "review",
        "self_training",
        "stages",
        "weights",
    },
}


def library_files() -> list[pathlib.Path]:
    """Return the library's Python files, relative to the root."""
    return sorted(
        path.relative_to(ROOT)
        for folder in LIBRARY
        for path in (ROOT / folder).rglob("*.py")
    )


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def our_imports(tree: ast.Module) -> list[str]:
    """Return the dotted names of our modules that a module imports."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] in LIBRARY]


def without_library(name: str) -> str:
    return name.removeprefix("noisy_student_tf.")


def is_allowed(name: str, allowed: set[str]) -> bool:
    return any(
        name == other or name.startswith(f"{other}.") for other in allowed
    )


def forbidden_imports(path: pathlib.Path, tree: ast.Module) -> list[str]:
    """Return what a module imports against the table."""
    parts = path.with_suffix("").parts
    owner = parts[1] if parts[0] == "noisy_student_tf" else parts[0]
    if owner == "__init__":
        return []
    return [
        name
        for name in map(without_library, our_imports(tree))
        if not is_allowed(name, ALLOWED_IMPORTS[owner] | {owner})
    ]


def test_the_longest_test_files_are_there():
    assert all((ROOT / name).is_file() for name in conftest.LONGEST_FIRST)


@pytest.mark.parametrize("path", library_files(), ids=str)
def test_functions_are_short(path):
    too_long = [
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert too_long == [], f"longer than {MAX_FUNCTION_LINES} lines"


@pytest.mark.parametrize("path", library_files(), ids=str)
def test_imports_go_one_way(path):
    assert forbidden_imports(path, parse(path)) == []


def table_rows(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows below a table's heading."""
    lines = (ROOT / document).read_text().splitlines()
    rows = []
    for line in lines[lines.index(heading) + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`([\w./]+)`", cell))


def test_contributing_shows_who_may_import_whom():
    shown = {}
    for room, cell in table_rows("CONTRIBUTING.md", "| room | may import |"):
        (name,) = names_in(room)
        base = BASE if cell.startswith("base") else set()
        shown[name] = names_in(cell) | base
    assert shown == ALLOWED_IMPORTS


def test_the_design_shows_the_tree():
    headings = {
        "| in `noisy_student_tf/` | holds | modules |": "noisy_student_tf/",
        "| beside it | holds | modules |": "",
    }
    shown = {}
    for heading, prefix in headings.items():
        for name, _, modules in table_rows("docs/design.md", heading):
            (path,) = names_in(name)
            shown[prefix + path.rstrip("/")] = names_in(modules)
    there = {}
    for path in library_files():
        if str(path.parent) == "noisy_student_tf":
            if path.stem != "__init__":
                there[str(path)] = set()
            continue
        modules = there.setdefault(str(path.parent), set())
        if not path.stem.startswith("__"):
            modules.add(path.stem)
    assert shown == there


def test_no_folder_of_the_library_is_crowded():
    folders = {
        path.parent for path in library_files() if path.parts[0] in LIBRARY[:2]
    }
    crowded = {
        str(folder): count
        for folder in folders
        if (count := len([*(ROOT / folder).glob("*.*")])) > 15
    }
    assert crowded == {}


def test_training_needs_few_modules():
    """Who wants to know how a model is trained reads these, and no more."""
    code = """
import sys
import run_scripts.train
for name, module in sys.modules.items():
    if not hasattr(module, "__path__"):
        print(name)
"""
    names = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    names = [each for each in names if each.partition(".")[0] in LIBRARY]
    assert "noisy_student_tf.training.loop" in names
    assert len(names) <= 50, sorted(names)


def test_an_import_between_parts_is_found():
    tree = ast.parse("from noisy_student_tf.model import efficientnet")

    path = pathlib.Path("noisy_student_tf/training/step.py")
    assert forbidden_imports(path, tree) == ["model.efficientnet"]
    path = pathlib.Path("noisy_student_tf/stages/data.py")
    assert forbidden_imports(path, tree) == []


@pytest.mark.parametrize("path", library_files(), ids=str)
def test_the_library_has_no_asserts(path):
    lines = [
        node.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Assert)
    ]
    assert lines == [], "an assert vanishes under -O: raise an error"


def test_every_field_of_the_configuration_is_read():
    folder = pathlib.Path("noisy_student_tf/configs")
    sections = [path for path in library_files() if path.parent == folder]
    fields = {
        item.target.id
        for path in sections
        for node in parse(path).body
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    read = {
        node.attr
        for path in library_files()
        for function in ast.walk(parse(path))
        # What only checks a value does not use it.
        if isinstance(function, ast.FunctionDef | ast.Lambda)
        and getattr(function, "name", "") != "__post_init__"
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
    }
    assert sorted(fields - read) == []


@pytest.mark.parametrize("name", write_requirements.contents())
def test_requirements_follow_pyproject(name):
    assert (ROOT / name).read_text() == write_requirements.contents()[name], (
        "run python -m run_scripts.write_requirements"
    )


def test_tpu_requirements_leave_tensorflow_out():
    lines = write_requirements.contents()["requirements-tpu.txt"].splitlines()
    names = [
        write_requirements.package_name(line)
        for line in lines
        if not line.startswith("#")
    ]

    assert "tensorflow" not in names
    wanted = {"tensorflow-tpu", "libtpu"}
    assert wanted | {"keras"} <= set(names)


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("tensorflow[and-cuda]>=2.20", "tensorflow"),
        ("absl-py>=2.1,<3", "absl-py"),
        ('x ; python_version < "3.13"', "x"),
    ],
)
def test_package_name(requirement, name):
    assert write_requirements.package_name(requirement) == name


def test_the_readme_names_what_exists():
    text = (ROOT / "README.md").read_text()
    paths = set(
        re.findall(r"(?:run_scripts|noisy_student_tf)/[\w/]+\.\w+", text)
    )
    modules = set(
        re.findall(
            r"python -m ((?:run_scripts|data_prep|benchmarks)\.\w+)", text
        )
    )

    missing = [name for name in paths if not (ROOT / name).exists()]
    missing += [
        name
        for name in modules
        if not (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
    ]
    assert paths
    assert modules
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        "run_scripts/quickstart.sh",
        "run_scripts/own_photographs.sh",
        "run_scripts/test.sh",
        "run_scripts/test_tpu.sh",
        ".ci/run",
    ],
)
def test_shell_scripts_are_executable_and_parse(name):
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / name], check=True)


def run_environment(tmp_path, *, python, extra_path=""):
    """Source environment.sh in an empty checkout, with one interpreter."""
    (tmp_path / "pyproject.toml").write_text("")
    script = (
        f"source {ROOT}/run_scripts/environment.sh; prepare_environment dev"
    )
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"PATH": f"{extra_path}/usr/bin:/bin", "PYTHON": python},
        capture_output=True,
        text=True,
    )


def write_script(path: pathlib.Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_named_with_the_mend(tmp_path):
    old = write_script(
        tmp_path / "old",
        '[ "$1" = --version ] && echo Python 3.8.1; [ "$1" != -c ]',
    )

    result = run_environment(tmp_path, python=old)

    assert result.returncode == 1
    assert "is not Python 3.11, 3.12 or 3.13: Python 3.8.1" in result.stderr
    assert "e.g. PYTHON=python3.12" in result.stderr


def test_a_missing_venv_module_is_named_with_the_mend(tmp_path):
    bare = write_script(
        tmp_path / "bare",
        f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"',
    )

    result = run_environment(tmp_path, python=bare)

    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_environment_is_made_once_and_again_after_a_change(tmp_path):
    """uv stands for the installer; it writes down what it is asked for."""
    log = tmp_path / "log"
    (tmp_path / "bin").mkdir()
    write_script(
        tmp_path / "bin" / "uv",
        f'echo "$1 $2" >> {log}; [ "$1" != venv ] || '
        f"{{ mkdir -p .venv/bin; ln -sf {sys.executable} .venv/bin/python; }}",
    )

    def prepare():
        return run_environment(
            tmp_path, python=sys.executable, extra_path=f"{tmp_path}/bin:"
        ).stdout

    assert "Installing .[dev] into .venv with uv" in prepare()
    assert log.read_text().splitlines() == ["venv --quiet", "pip install"]
    assert ".venv is up to date" in prepare()
    assert len(log.read_text().splitlines()) == 2

    stamp = tmp_path / ".venv" / "noisy-student-installed"
    stamp.write_text("another list of packages dev\n")
    assert "Installing .[dev]" in prepare()
