"""A study on one set of images, as data: what its runs are.

An arm is a configuration that runs with several seeds. What all arms of an
experiment have in common is its preset and its common changes. See `studies`
for what is made of them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from noisy_student_tf import configs, workdirs
from noisy_student_tf.configs import config_tree, presets

Kind = Literal[
    "loop", "self_training_classifier", "frozen_features", "fixmatch"
]

# Writes a part of a run's unlabeled images as shards into a folder.
WritePart = Callable[[workdirs.Workdir, configs.Config, str], None]

# Where the runner puts an arm's own images; no arm's folder.
PART_OF_IMAGES = "{workdir}/{images}_images/seed_{seed}"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One configuration.

    Attributes:
        name: Of its folder.
        title: What a table calls it.
        changes: Dotted field -> value, over the preset and what is common. In
            values, {workdir} stands for the study's folder and {seed} for the
            seed.
        needs: Arms whose folders must be there before it begins.
        kind: `loop` runs Noisy Student Training; the others are methods that
            are not ours, on the shards of the first arm it needs.
        images: Which of the unlabeled images of the first arm it needs are
            its own: `all`, or a part that the experiment can write.
        titles: What a table calls single models of it.
        settings: Of a method that is not ours, those that are not its own.
    """

    name: str
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    kind: Kind = "loop"
    images: str = "all"
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def title_of(self, model: str) -> str:
        """Return what a table calls a model, as `results.json` names it."""
        if model in self.titles:
            return self.titles[model]
        if model == "teacher":
            return f"{self.title}: teacher"
        if self.changes.get("self_training.num_iterations", 1) < 2:
            return self.title
        return f"{self.title}, student {model.removeprefix('student_')}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What the runs on one set of images have in common.

    Attributes:
        name: Of the set.
        preset: What all configurations begin as.
        common: Dotted field -> value of all arms; see `Arm.changes`.
        arms: All of them.
        num_images: Training images, labeled and unlabeled, for estimates.
        document: Path of the document that has the tables.
        seed_fields: Fields whose value is the run's seed.
        parts: Name -> what writes a part of the unlabeled images.
        prepare: Is called with the study's folder before the first run.
        hides_test: Whether records leave out what test images show: of a
            search, which must not see it.
    """

    name: str
    preset: str
    common: Mapping[str, Any]
    arms: tuple[Arm, ...]
    num_images: int
    document: str
    seed_fields: tuple[str, ...] = ("seed",)
    parts: Mapping[str, WritePart] = dataclasses.field(default_factory=dict)
    prepare: Callable[[str], None] = lambda workdir: None
    hides_test: bool = False

    @property
    def records(self) -> str:
        """Folder of the records of all runs, beside the document."""
        return f"{self.document.removesuffix('.md')}/runs"

    def arm(self, name: str) -> Arm:
        """Return an arm."""
        return next(each for each in self.arms if each.name == name)

    def resolve(self, arm: Arm, *, seed: int, workdir: str) -> configs.Config:
        """Return the configuration of one run.

        Args:
            arm: The arm.
            seed: Of all its random draws.
            workdir: The study's folder, for arms that read another's.

        Raises:
            ValueError: A field does not exist, or a value is not accepted.
        """
        changes = {
            name: value.format(workdir=workdir, seed=seed)
            if isinstance(value, str)
            else value
            for name, value in {**self.common, **arm.changes}.items()
        }
        return config_tree.override(
            presets.preset(self.preset),
            {**changes, **dict.fromkeys(self.seed_fields, seed)},
        )
