"""Numbers of the study's models, read from the records of its runs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noisy_student_tf.evaluation import robustness, robustness_metrics
from noisy_student_tf.records import robustness_sets
from study import run_records, studies

Row = dict[str, Any]

# The paper's attack of Section 4.2, in pixels.
PGD_EPSILON_PIXELS = 16.0
# What mCE and mFR are relative to: 100.
BASELINE = studies.Subject("supervised", "teacher")


@dataclasses.dataclass(frozen=True)
class Relative:
    """A mean of ratios to the baseline, in percent.

    Attributes:
        percent: None where nothing could be divided.
        left_out: Perturbations under which the baseline never flips, which
            the mean is taken without.
    """

    percent: float | None
    left_out: tuple[str, ...] = ()


class Measurements:
    """All records of a study, by arm and seed."""

    def __init__(self, records: Sequence[run_records.Record]) -> None:
        """Index records.

        Args:
            records: Of any arms and seeds.
        """
        self._records = {
            (record.arm, record.seed): record for record in records
        }

    def seeds(self, subject: studies.Subject) -> list[int]:
        """Return the seeds with which a model was tested."""
        return sorted(
            seed
            for arm, seed in self._records
            if arm == subject.arm and self.test_row(subject, seed)
        )

    def record(self, arm: str, seed: int) -> run_records.Record:
        """Return one record."""
        return self._records[arm, seed]

    def test_row(self, subject: studies.Subject, seed: int) -> Row | None:
        """Return a model's row of test images at its own resolution."""
        return self._row(
            subject,
            seed,
            lambda row: row["split"] == "test" and "measure" not in row,
        )

    def _row(
        self,
        subject: studies.Subject,
        seed: int,
        accepts: Callable[[Row], bool],
    ) -> Row | None:
        record = self._records.get((subject.arm, seed))
        rows = record.rows(subject.model) if record else []
        return next((row for row in rows if accepts(row)), None)

    def value(
        self, subject: studies.Subject, seed: int, measure: studies.Measure
    ) -> float | None:
        """Return a number in percent; None where it was not measured.

        mCE and mFR are relative to the supervised baseline of the same seed.
        """
        if measure == "accuracy":
            row = self.test_row(subject, seed)
        elif measure == "mce":
            return self._mce(subject, seed)
        elif measure == "mfr":
            return self.mfr(subject, seed).percent
        elif measure == "fgsm":
            row = self.attack(
                subject, seed, robustness.FGSM, studies.FGSM_EPSILON_PIXELS
            )
        else:
            row = self.attack(subject, seed, robustness.PGD, PGD_EPSILON_PIXELS)
        return 100 * row["accuracy"] if row else None

    def attack(
        self, subject: studies.Subject, seed: int, kind: str, epsilon: float
    ) -> Row | None:
        """Return the row of one attack."""
        return self._row(
            subject,
            seed,
            lambda row: (
                (row.get("measure"), row.get("epsilon_pixels"))
                == (kind, epsilon)
            ),
        )

    def _robustness(
        self, subject: studies.Subject, seed: int, measure: str
    ) -> Row | None:
        return self._row(
            subject, seed, lambda row: row.get("measure") == measure
        )

    def _mce(self, subject: studies.Subject, seed: int) -> float | None:
        row, baseline = (
            self._robustness(each, seed, robustness.CORRUPTIONS)
            for each in (subject, BASELINE)
        )
        if not row or not baseline:
            return None
        return robustness_metrics.mean_corruption_error(
            row["errors"], baseline["errors"]
        )

    def mfr(self, subject: studies.Subject, seed: int) -> Relative:
        """Return mFR over the perturbations under which the baseline flips."""
        row, baseline = (
            self._robustness(each, seed, robustness.PERTURBATIONS)
            for each in (subject, BASELINE)
        )
        if not row or not baseline:
            return Relative(None)
        percent, left_out = robustness_metrics.mean_defined_ratio(
            row["flip_probabilities"], baseline["flip_probabilities"]
        )
        return Relative(percent, tuple(left_out))

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


def mean_flip_percent(flip_probabilities: Mapping[str, float]) -> float:
    """Return the plain mean of the flip probabilities in percent."""
    names = robustness_sets.PERTURBATIONS
    return 100 * sum(flip_probabilities[name] for name in names) / len(names)
