"""The tables of a study, and what they can confirm, as data.

A study is a table over some arms, with directions that may hold.
"""

import dataclasses
from typing import Literal

from study import experiments

# Of the attack that decides, in pixels of [0, 255].
FGSM_EPSILON_PIXELS = 4.0

Measure = Literal[
    "accuracy", "macro_f1", "auroc", "mce", "mfr", "flips", "fgsm", "pgd"
]
# Of these, less is better.
ERRORS = ("mce", "mfr", "flips")


@dataclasses.dataclass(frozen=True)
class Model:
    """One model of an arm, as `results.json` names it."""

    arm: str
    name: str


@dataclasses.dataclass(frozen=True)
class Claim:
    """A direction, mostly one that the paper found.

    Attributes:
        text: What is better than what.
        source: Where the paper says so, with its numbers.
        better: The model that is better if that is right here too.
        worse: The other.
        measure: What decides.
    """

    text: str
    source: str
    better: Model
    worse: Model
    measure: Measure


@dataclasses.dataclass(frozen=True)
class Study:
    """A table.

    Attributes:
        experiment: What its arms are of.
        name: Of the table, and of `--name`.
        arms: Names of the arms, in the order in which they run.
        lines: What the table shows.
        claims: Directions that it can confirm.
        seeds: With which it runs.
        baseline: What mCE and mFR are relative to: 100.
    """

    experiment: experiments.Experiment
    name: str
    arms: tuple[str, ...]
    lines: tuple[Model, ...]
    claims: tuple[Claim, ...]
    seeds: tuple[int, ...]
    baseline: Model

    def title_of(self, model: Model) -> str:
        """Return what the table calls a model."""
        return self.experiment.arm(model.arm).title_of(model.name)
