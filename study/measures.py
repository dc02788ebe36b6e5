"""Numbers of the study's models, read from the records of its runs.

And what seeds say together: means, and whether a direction is the paper's.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from scipy import stats

from noisy_student_tf.evaluation import robustness, robustness_metrics
from study import run_records, studies

Row = dict[str, Any]
Verdict = Literal["agrees", "disagrees", "undecided", "open"]

_CONFIDENCE = 0.95
# A difference between two runs of one seed says little of others.
_FEWEST_SEEDS = 2

# What mCE and mFR are relative to: 100.
BASELINE = studies.Model("supervised", "teacher")

# Measure -> fields of its row; the paper's PGD of Section 4.2, in pixels.
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "accuracy": {"split": "test", "measure": None},
    "mce": {"measure": robustness.CORRUPTIONS},
    "mfr": {"measure": robustness.PERTURBATIONS},
    "fgsm": {
        "measure": robustness.FGSM,
        "epsilon_pixels": studies.FGSM_EPSILON_PIXELS,
    },
    "pgd": {"measure": robustness.PGD, "epsilon_pixels": 16.0},
}


class Measurements:
    """All records of a study, by arm and seed."""

    def __init__(self, records: Sequence[run_records.Record]) -> None:
        """Index records.

        Args:
            records: Of any arms and seeds.
        """
        self.records = {
            (record["arm"], record["seed"]): record for record in records
        }

    def seeds(self, model: studies.Model) -> list[int]:
        """Return the seeds with which a model was tested."""
        return sorted(
            seed
            for arm, seed in self.records
            if arm == model.arm and self.row(model, seed)
        )

    def row(
        self,
        model: studies.Model,
        seed: int,
        measure: studies.Measure = "accuracy",
    ) -> Row | None:
        """Return a model's row: of test images, at its own resolution."""
        record = self.records.get((model.arm, seed))
        for row in run_records.rows_of(record, model.name) if record else []:
            fields = _FIELDS[measure].items()
            if all(row.get(name) == value for name, value in fields):
                return row
        return None

    def value(
        self, model: studies.Model, seed: int, measure: studies.Measure
    ) -> float | None:
        """Return a number in percent; None where it was not measured.

        mCE and mFR are relative to the supervised baseline of the same seed.
        """
        if measure == "mfr":
            return self.mfr(model, seed)[0]
        row = self.row(model, seed, measure)
        if measure != "mce":
            return 100 * row["accuracy"] if row else None
        baseline = self.row(BASELINE, seed, "mce")
        if not row or not baseline:
            return None
        return robustness_metrics.mean_corruption_error(
            row["errors"], baseline["errors"]
        )

    def values(
        self,
        model: studies.Model,
        seeds: Sequence[int],
        measure: studies.Measure,
    ) -> list[float]:
        """Return the numbers of the seeds that were measured."""
        found = [self.value(model, seed, measure) for seed in seeds]
        return [value for value in found if value is not None]

    def mfr(
        self, model: studies.Model, seed: int
    ) -> tuple[float | None, list[str]]:
        """Return mFR over the perturbations under which the baseline flips.

        Returns:
            The percentage, None where nothing could be divided; and the
            perturbations under which the baseline never flips.
        """
        row, baseline = (
            self.row(each, seed, "mfr") for each in (model, BASELINE)
        )
        if not row or not baseline:
            return None, []
        return robustness_metrics.mean_defined_ratio(
            row["flip_probabilities"], baseline["flip_probabilities"]
        )

    def differences(self, claim: studies.Claim) -> list[float]:
        """Return of each seed by how many points a direction holds."""
        sign = -1 if claim.measure in studies.ERRORS else 1
        differences = []
        for seed in self.seeds(claim.better):
            better = self.value(claim.better, seed, claim.measure)
            worse = self.value(claim.worse, seed, claim.measure)
            if better is not None and worse is not None:
                differences.append(sign * (better - worse))
        return differences


def summarize(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and its 95 % t-interval.

    The interval is of what training anew would give on the same labels; it
    does not cover another choice of labeled images.

    Returns:
        The mean, and the ends of the interval; they are nan with one seed.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("There is no seed to average over.")
    mean = statistics.mean(values)
    count = len(values)
    if count < _FEWEST_SEEDS:
        return mean, math.nan, math.nan
    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1))
    reach = quantile * statistics.stdev(values) / math.sqrt(count)
    return mean, mean - reach, mean + reach


def judge(differences: Sequence[float]) -> Verdict:
    """Tell whether a direction was seen.

    Args:
        differences: Of each seed, positive where it is the paper's direction.

    Returns:
        `agrees` or `disagrees` where all seeds say so, `undecided` where they
        differ or a difference is 0, `open` with fewer than two seeds.
    """
    if len(differences) < _FEWEST_SEEDS:
        return "open"
    if all(difference > 0 for difference in differences):
        return "agrees"
    if all(difference < 0 for difference in differences):
        return "disagrees"
    return "undecided"
