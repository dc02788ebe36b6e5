import dataclasses
import pathlib
import re
from typing import Literal

import pytest
from absl import flags

from noisy_student_tf.configs import config_tree, options

_ROOT = pathlib.Path(__file__).parents[2]
# What flags of paths are called.
_NAMED_AS_PATH = re.compile(
    r"DEFINE_(?!paths?\()\w+\(\s*"
    r"\"(\w*(dir|directory|file|path|output|export|csv|source|records|document))\""
)


@dataclasses.dataclass(frozen=True)
class Section:
    side: int = options.option(8, "Side in pixels.")
    share: float = options.option(0.25, "Share of the images.")
    keeps: bool = options.option(False, "Whether it is kept.")
    crop: Literal["center", "whole"] = options.option("whole", "The crop.")
    name: str = options.option("", "Its name.")

    def __post_init__(self):
        options.check(self.side >= 0, "side", self.side, "0 or more")


NAMES = {
    "pixels": "side",
    "share": "share",
    "keeps": "keeps",
    "crop": "crop",
}


def parsed(*arguments):
    values = flags.FlagValues()
    config_tree.define_fields(Section(), NAMES, values)
    values(["program", *arguments])
    return values


def test_flags_have_the_defaults_and_help_of_their_fields():
    values = parsed()
    assert values["pixels"].value == 8
    assert values["pixels"].help == "Side in pixels."
    assert "name" not in values
    assert config_tree.replace_fields(Section(), NAMES, values) == Section()


def test_given_flags_replace_fields_and_others_are_kept():
    values = parsed("--pixels=3", "--share=0.5", "--keeps", "--crop=center")
    section = config_tree.replace_fields(Section(name="a"), NAMES, values)
    assert section == Section(3, 0.5, True, "center", "a")


def test_what_is_no_choice_or_not_accepted_is_refused():
    with pytest.raises(flags.IllegalFlagValueError, match="center"):
        parsed("--crop=half")
    with pytest.raises(ValueError, match="--side=-1: accepted is 0 or more"):
        config_tree.replace_fields(Section(), NAMES, parsed("--pixels=-1"))


@pytest.fixture
def path_values(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = flags.FlagValues()
    config_tree.DEFINE_path(
        "output_dir", None, "", required=True, values=values
    )
    config_tree.DEFINE_path("csv", "~/a.csv", "", values=values)
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
def test_home_is_expanded_where_a_path_begins(path_values, given, expected):
    path_values(["program", f"--output_dir={given}"])
    assert path_values.output_dir == expected
    assert path_values.csv == "/home/me/a.csv"


def test_required_paths_have_to_be_given(path_values):
    with pytest.raises(flags.IllegalFlagValueError, match="output_dir"):
        path_values(["program"])


def test_lists_of_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = flags.FlagValues()
    config_tree.DEFINE_paths("model", [], "", values=values)
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
