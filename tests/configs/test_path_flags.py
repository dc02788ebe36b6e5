import pathlib
import re

import pytest
from absl import flags

from noisy_student_tf.configs import path_flags

_ROOT = pathlib.Path(__file__).parents[2]
# What flags of paths are called.
_NAMED_AS_PATH = re.compile(
    r"DEFINE_\w+\(\s*\"(\w*(dir|directory|file|path|output|export|csv|source|"
    r"records|document))\""
)


@pytest.fixture
def values(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = flags.FlagValues()
    path_flags.define("output_dir", None, "", required=True, values=values)
    path_flags.define("csv", "~/a.csv", "", values=values)
    return values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~/birds", "/home/me/birds"),
        ("~/a-*,~/b-*", "/home/me/a-*,/home/me/b-*"),
        ("gs://bucket/~birds", "gs://bucket/~birds"),
        ("folder:~/birds", "folder:~/birds"),
        ("a/~", "a/~"),
        ("", ""),
    ],
)
def test_home_is_expanded_where_a_path_begins(values, given, expected):
    values(["program", f"--output_dir={given}"])
    assert values.output_dir == expected
    assert values.csv == "/home/me/a.csv"


def test_required_paths_have_to_be_given(values):
    with pytest.raises(flags.IllegalFlagValueError, match="output_dir"):
        values(["program"])


def test_lists_of_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = flags.FlagValues()
    path_flags.define_list("model", [], "", values=values)
    values(["program"])
    assert values.model == []
    values(["program", "--model=~/a,b"])
    assert values.model == ["/home/me/a", "b"]


def test_every_flag_of_a_path_is_one_of_these():
    found = [
        f"{path.relative_to(_ROOT)}: {match[1]}"
        for folder in ("data_prep", "run_scripts", "study")
        for path in (_ROOT / folder).rglob("*.py")
        for match in _NAMED_AS_PATH.finditer(path.read_text())
    ]
    assert not found
