"""The study's tables as Markdown, and where they stand in its document."""

import math
from collections.abc import Sequence

from noisy_student_tf.evaluation import robustness
from study import arms, measures, run_records, statistics, studies

OPEN = "open"
_FGSM, _PGD = robustness.FGSM, robustness.PGD


def of_study(study: studies.Study, measured: measures.Measurements) -> str:
    """Return a study's table of models, and that of its claims.

    Args:
        study: Which; its seeds alone are shown, and enter its means.
        measured: All that was measured so far.
    """
    parts = [_models(study, measured)]
    if study.claims:
        parts.append(of_claims(study.claims, measured))
    return "\n\n".join(parts)


def _models(study: studies.Study, measured: measures.Measurements) -> str:
    heading = [
        "model",
        "parameters",
        *(f"seed {seed}" for seed in study.seeds),
        "mean, 95 % interval",
    ]
    return _markdown(
        heading, [_model(line, measured, study.seeds) for line in study.lines]
    )


def _model(
    subject: studies.Subject,
    measured: measures.Measurements,
    seeds: Sequence[int],
) -> list[str]:
    values = {seed: measured.value(subject, seed, "accuracy") for seed in seeds}
    found = [value for value in values.values() if value is not None]
    return [
        title_of(subject),
        _parameters(subject, measured),
        *(_accuracy(subject, seed, measured) for seed in seeds),
        interval(statistics.summarize(found)) if found else OPEN,
    ]


def title_of(subject: studies.Subject) -> str:
    """Return what a table calls a model."""
    arm = arms.arm(subject.arm)
    if subject.model == "teacher":
        is_baseline = subject == measures.BASELINE
        return arm.title if is_baseline else f"{arm.title}: teacher"
    if subject.arm != "noisy_student":
        return arm.title
    return f"{arm.title}, student {subject.model.removeprefix('student_')}"


def _parameters(
    subject: studies.Subject, measured: measures.Measurements
) -> str:
    for seed in measured.seeds(subject)[:1]:
        models = measured.record(subject.arm, seed).content["models"]
        count = models.get(subject.model, {}).get("num_parameters")
        if count:
            return f"{count / 1e6:.2f} M"
    return "-"


def _accuracy(
    subject: studies.Subject, seed: int, measured: measures.Measurements
) -> str:
    """Return an accuracy with its binomial interval."""
    row = measured.test_row(subject, seed)
    if not row:
        return OPEN
    low, high = row["interval_95"]
    return f"{100 * row['accuracy']:.2f} ({100 * low:.1f} to {100 * high:.1f})"


def interval(summary: statistics.Summary, *, signed: bool = False) -> str:
    """Return a mean and its interval over seeds, as far as there is one."""
    form = "+.2f" if signed else ".2f"
    if math.isnan(summary.low):
        return f"{summary.mean:{form}} (one seed)"
    return (
        f"**{summary.mean:{form}}** "
        f"({summary.low:{form}} to {summary.high:{form}})"
    )


def of_claims(
    claims: Sequence[studies.Claim], measured: measures.Measurements
) -> str:
    """Return the paper's directions beside ours."""
    heading = [
        "the paper's direction",
        "its numbers",
        "measure",
        "ours, points by seed",
        "mean, 95 % interval",
        "verdict",
    ]
    lines = []
    for claim in claims:
        found = list(measured.differences(claim).values())
        lines.append(
            [
                claim.text,
                claim.source,
                _MEASURES[claim.measure],
                ", ".join(f"{value:+.2f}" for value in found) or OPEN,
                interval(statistics.summarize(found), signed=True)
                if found
                else OPEN,
                statistics.judge(found),
            ]
        )
    return _markdown(heading, lines)


_MEASURES: dict[studies.Measure, str] = {
    "accuracy": "top-1",
    "mce": "mCE, less is better",
    "mfr": "mFR, less is better",
    "fgsm": f"top-1 under FGSM {studies.FGSM_EPSILON_PIXELS:g}",
    "pgd": "top-1 under PGD 16",
}


def of_robustness(
    subjects: Sequence[studies.Subject], measured: measures.Measurements
) -> str:
    """Return the means over seeds of all measures of robustness."""
    heading = ["model", "seeds", *_MEASURES.values(), "no baseline flips"]
    lines = []
    for subject in subjects:
        seeds = measured.seeds(subject)
        left_out = {
            name.replace("_", " ")
            for seed in seeds
            for name in measured.mfr(subject, seed).left_out
        }
        lines.append(
            [
                title_of(subject),
                ", ".join(map(str, seeds)) or OPEN,
                *(
                    _over_seeds(subject, seeds, measure, measured)
                    for measure in _MEASURES
                ),
                ", ".join(sorted(left_out)) or "-",
            ]
        )
    return _markdown(heading, lines)


def _over_seeds(
    subject: studies.Subject,
    seeds: Sequence[int],
    measure: studies.Measure,
    measured: measures.Measurements,
) -> str:
    values = [measured.value(subject, seed, measure) for seed in seeds]
    found = [value for value in values if value is not None]
    return interval(statistics.summarize(found)) if found else OPEN


def count_verdicts(
    shown: Sequence[studies.Study], measured: measures.Measurements
) -> str:
    """Return how many of all claims agree, and which do not."""
    claims = [claim for study in shown for claim in study.claims]
    counts: dict[str, list[str]] = {}
    for claim in claims:
        found = list(measured.differences(claim).values())
        counts.setdefault(statistics.judge(found), []).append(claim.text)
    lines = [
        f"Of {len(claims)} directions, {len(counts.get('agrees', []))} agree, "
        f"{len(counts.get('disagrees', []))} disagree, "
        f"{len(counts.get('undecided', []))} are undecided and "
        f"{len(counts.get(OPEN, []))} are open."
    ]
    for verdict in ("disagrees", "undecided", OPEN):
        if verdict in counts:
            listed = "; ".join(counts[verdict])
            lines.append(f"- {verdict}: {listed}.")
    return "\n".join([lines[0], "", *lines[1:]])


def of_pseudo_labels(records: Sequence[run_records.Record], arm: str) -> str:
    """Return what the teachers of one arm labeled, and how well."""
    heading = [
        "seed",
        "student",
        "teacher right, all",
        "selected",
        "teacher right, selected",
        "rows with copies",
    ]
    lines = [
        [
            str(record.seed),
            str(labels["iteration"]),
            f"{100 * labels['accuracy']:.2f} % of {labels['num_images']:,}",
            f"{labels['num_selected']:,}",
            f"{100 * labels['selected_accuracy']:.2f} %",
            f"{sum(labels['rows_per_class']):,}",
        ]
        for record in records
        if record.arm == arm
        for labels in record.content["pseudo_labels"]
    ]
    return _markdown(heading, lines)


def _markdown(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def insert(document: str, name: str, table: str) -> str:
    """Return a document with the table of a name put in its place.

    Its place is between the comments `<!-- table: NAME -->` and
    `<!-- end of table -->`.

    Raises:
        ValueError: The document has no such place.
    """
    begin, end = f"<!-- table: {name} -->", "<!-- end of table -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(
            f"The study's document has no place for the table {name!r}: put "
            f"{begin} and {end} where it shall stand."
        )
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"
