"""Numbers of the study's models, read from the records of its runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from noisy_student_tf.evaluation import robustness, robustness_metrics
from study import run_records, studies

Row = dict[str, Any]

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
        self._records = {
            (record["arm"], record["seed"]): record for record in records
        }

    def seeds(self, model: studies.Model) -> list[int]:
        """Return the seeds with which a model was tested."""
        return sorted(
            seed
            for arm, seed in self._records
            if arm == model.arm and self.test_row(model, seed)
        )

    def record(self, arm: str, seed: int) -> run_records.Record:
        """Return one record."""
        return self._records[arm, seed]

    def test_row(self, model: studies.Model, seed: int) -> Row | None:
        """Return a model's row of test images at its own resolution."""
        return self._row(model, seed, "accuracy")

    def _row(
        self, model: studies.Model, seed: int, measure: studies.Measure
    ) -> Row | None:
        record = self._records.get((model.arm, seed))
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
        row = self._row(model, seed, measure)
        if measure != "mce":
            return 100 * row["accuracy"] if row else None
        baseline = self._row(BASELINE, seed, "mce")
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
            self._row(each, seed, "mfr") for each in (model, BASELINE)
        )
        if not row or not baseline:
            return None, []
        return robustness_metrics.mean_defined_ratio(
            row["flip_probabilities"], baseline["flip_probabilities"]
        )

    def differences(self, claim: studies.Claim) -> dict[int, float]:
        """Return seed -> by how many points the paper's direction holds."""
        sign = -1 if claim.measure in studies.ERRORS else 1
        differences = {}
        for seed in self.seeds(claim.better):
            better = self.value(claim.better, seed, claim.measure)
            worse = self.value(claim.worse, seed, claim.measure)
            if better is not None and worse is not None:
                differences[seed] = sign * (better - worse)
        return differences
