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

_OF_TEST_IMAGES: Mapping[str, Any] = {"split": "test", "measure": None}
# Of a row, what these measures are; of the others it is the accuracy.
_VALUES = ("macro_f1", "auroc")

# Measure -> fields of its row; the paper's PGD of Section 4.2, in pixels.
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "accuracy": _OF_TEST_IMAGES,
    "macro_f1": _OF_TEST_IMAGES,
    "auroc": _OF_TEST_IMAGES,
    "mce": {"measure": robustness.CORRUPTIONS},
    "mfr": {"measure": robustness.PERTURBATIONS},
    "flips": {"measure": robustness.PERTURBATIONS},
    "fgsm": {
        "measure": robustness.FGSM,
        "epsilon_pixels": studies.FGSM_EPSILON_PIXELS,
    },
    "pgd": {"measure": robustness.PGD, "epsilon_pixels": 16.0},
}


class Measurements:
    """All records of a study, by arm and seed."""

    def __init__(
        self, records: Sequence[run_records.Record], baseline: studies.Model
    ) -> None:
        """Index records.

        Args:
            records: Of any arms and seeds.
            baseline: What mCE and mFR are relative to: 100.
        """
        self.baseline = baseline
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

        mCE, mFR and flips are relative to the baseline of the same seed.
        """
        if measure == "mfr":
            return self.mfr(model, seed)[0]
        if measure == "flips":
            return self._relative_flips(model, seed)
        row = self.row(model, seed, measure)
        if measure != "mce":
            name = measure if measure in _VALUES else "accuracy"
            value = row.get(name) if row else None
            return None if value is None else 100 * value
        baseline = self.row(self.baseline, seed, "mce")
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
            self.row(each, seed, "mfr") for each in (model, self.baseline)
        )
        if not row or not baseline:
            return None, []
        return robustness_metrics.mean_defined_ratio(
            row["flip_probabilities"], baseline["flip_probabilities"]
        )

    def _relative_flips(self, model: studies.Model, seed: int) -> float | None:
        """Return the mean flip probability over the baseline's, in percent.

        A single flip of the baseline defines it.
        """
        row, baseline = (
            self.row(each, seed, "flips") for each in (model, self.baseline)
        )
        if not row or not baseline:
            return None
        mean, reference = (
            statistics.mean(each["flip_probabilities"].values())
            for each in (row, baseline)
        )
        return 100 * mean / reference if reference else None

    def differences(self, claim: studies.Claim) -> list[float]:
        """Return of each seed by how many points a direction holds."""
        return self.paired(claim.better, claim.worse, claim.measure)

    def paired(
        self,
        better: studies.Model,
        worse: studies.Model,
        measure: studies.Measure,
    ) -> list[float]:
        """Return of each seed by how many points a model is better.

        Args:
            better: The model.
            worse: The other, of the same seeds.
            measure: Of both; where less is better, the sign is turned.
        """
        sign = -1 if measure in studies.ERRORS else 1
        pairs = [
            [self.value(model, seed, measure) for model in (better, worse)]
            for seed in self.seeds(better)
        ]
        return [
            sign * (first - second)
            for first, second in pairs
            if first is not None and second is not None
        ]


def summarize(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and its 95 % t-interval.

    The interval is of what another seed would give. Where seeds do not draw
    the labeled images, it does not cover another choice of them.

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
