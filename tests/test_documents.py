"""Commands in all documents name scripts, flags and presets that exist."""

import ast
import importlib
import pathlib
import re

import pytest
from absl import flags

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree, presets
from run_scripts import write_requirements

ROOT = write_requirements.ROOT
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)
CONFIG_FLAGS = {"preset"} | {
    name for name, _ in config_tree.flatten(configs.Config())
}
# absl's own.
COMMON_FLAGS = {"help", "helpfull", "flagfile", "verbosity"}


def commands(text: str) -> list[str]:
    """Return `python -m ...` commands, continued lines joined."""
    joined = re.sub(r"='[^']*'", "=QUOTED", text).replace("\\\n", " ")
    ours = r"((?:run_scripts|data_prep|benchmarks|study)\b[^\n`]*)"
    return re.findall(rf"python[\d.]* -m {ours}", joined)


def module_path(name: str) -> pathlib.Path:
    path = ROOT / name.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def defined_flags(path: pathlib.Path, seen: set[pathlib.Path]) -> set[str]:
    """Return the flags that a script and what it imports define."""
    if path in seen or not path.exists():
        return set()
    seen.add(path)
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "DEFINE" in ast.unparse(node.func):
            first = node.args[0]
            if isinstance(first, ast.Constant):
                names.add(first.value)
        if isinstance(node, ast.For):
            # Flags that are defined in a loop over a table.
            names |= {
                constant.value
                for constant in ast.walk(node.iter)
                if isinstance(constant, ast.Constant)
                and isinstance(constant.value, str)
            }
        if isinstance(node, ast.ImportFrom) and node.module in (
            "run_scripts",
            "data_prep",
            "benchmarks",
        ):
            for alias in node.names:
                names |= defined_flags(
                    module_path(f"{node.module}.{alias.name}"), seen
                )
    if "define_config_flags" in path.read_text():
        names |= CONFIG_FLAGS
    return names


def problems(command: str) -> list[str]:
    """Return what a command names that does not exist."""
    # What follows a bare -- is for another program.
    words = command.split(" -- ")[0].split()
    path = module_path(words[0])
    if not path.exists():
        return [f"{words[0]} does not exist"]
    if words[0].startswith("data_prep."):
        values = flags.FlagValues()
        importlib.import_module(words[0]).define_flags(values)
        known = set(values) | COMMON_FLAGS
    else:
        known = defined_flags(path, set()) | COMMON_FLAGS
    found = []
    for word in words[1:]:
        match = re.match(r"--(?:no)?([a-z][\w.]*)(?:=(.*))?$", word)
        if match is None:
            continue
        name = word[2:].split("=")[0]
        if name not in known and name.removeprefix("no") not in known:
            found.append(f"{words[0]} has no --{name}")
        if name == "preset" and match[2] not in (*presets.PRESETS, "..."):
            found.append(f"--preset={match[2]} does not exist")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_exist(document):
    text = (ROOT / document).read_text()
    assert [
        problem for command in commands(text) for problem in problems(command)
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_flags_and_presets_in_prose_exist(document):
    text = (ROOT / document).read_text()
    sections = {name.split(".")[0] for name in CONFIG_FLAGS if "." in name}
    named = re.findall(r"--([a-z_]+\.[\w.]+)", text)
    unknown = [
        name
        for name in named
        if name.split(".")[0] in sections and name not in CONFIG_FLAGS
    ]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document):
    text = (ROOT / document).read_text()
    folder = (ROOT / document).parent
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
    assert [t for t in targets if not (folder / t).exists()] == []


@pytest.mark.parametrize(
    "command, message",
    [
        ("run_scripts.nothing", "does not exist"),
        ("run_scripts.noisy_student --workdirectory=a", "no --workdirectory"),
        ("run_scripts.noisy_student --preset=digit", "--preset=digit"),
        ("data_prep.build_labeled --shards=4", "no --shards"),
    ],
)
def test_what_does_not_exist_is_found(command, message):
    assert message in problems(command)[0]
