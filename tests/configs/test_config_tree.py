import dataclasses
from typing import Literal

import pytest
from absl import flags

from noisy_student_tf.configs import config_tree, options


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
