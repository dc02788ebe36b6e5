"""The study's tables as Markdown, and where they stand in its document."""

import math
from collections.abc import Sequence

from noisy_student_tf.evaluation import robustness
from study import measures, power, run_records, studies

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
    lines = [
        [
            study.title_of(model),
            parameters(model, measured),
            *(_accuracy(model, seed, measured) for seed in study.seeds),
            interval(measured.values(model, study.seeds, "accuracy")),
        ]
        for model in study.lines
    ]
    return markdown(heading, lines)


def parameters(model: studies.Model, measured: measures.Measurements) -> str:
    """Return the size of a model, where its record has it."""
    for seed in measured.seeds(model)[:1]:
        models = measured.records[model.arm, seed]["models"]
        count = models.get(model.name, {}).get("num_parameters")
        if count:
            return f"{count / 1e6:.2f} M"
    return "-"


def _accuracy(
    model: studies.Model, seed: int, measured: measures.Measurements
) -> str:
    """Return an accuracy with its binomial interval."""
    row = measured.row(model, seed)
    if not row:
        return OPEN
    low, high = row["interval_95"]
    return f"{100 * row['accuracy']:.2f} ({100 * low:.1f} to {100 * high:.1f})"


def interval(values: Sequence[float], *, signed: bool = False) -> str:
    """Return a mean and its interval over seeds, as far as there is one."""
    if not values:
        return OPEN
    mean, low, high = measures.summarize(values)
    form = "+.2f" if signed else ".2f"
    if math.isnan(low):
        return f"{mean:{form}} (one seed)"
    return f"**{mean:{form}}** ({low:{form}} to {high:{form}})"


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
        found = measured.differences(claim)
        lines.append(
            [
                claim.text,
                claim.source,
                MEASURES[claim.measure],
                ", ".join(f"{value:+.2f}" for value in found) or OPEN,
                interval(found, signed=True),
                measures.judge(found),
            ]
        )
    return markdown(heading, lines)


_ROBUSTNESS: tuple[studies.Measure, ...] = (
    "mce",
    "flips",
    "mfr",
    "fgsm",
    "pgd",
)
MEASURES: dict[studies.Measure, str] = {
    "accuracy": "top-1",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
    "mce": "mCE, less is better",
    "mfr": "mFR, less is better",
    "flips": "flips, relative, less is better",
    "fgsm": f"top-1 under FGSM {studies.FGSM_EPSILON_PIXELS:g}",
    "pgd": "top-1 under PGD 16",
}


def of_robustness(study: studies.Study, measured: measures.Measurements) -> str:
    """Return the means over seeds of all measures of robustness.

    Below it stands what mFR leaves out: where a seed's baseline never flips
    there is no ratio. The ratio of the mean flip probabilities leaves out
    nothing.
    """
    shown = ("accuracy", *_ROBUSTNESS)
    titles = [MEASURES[measure] for measure in shown]
    heading = ["model", "seeds", *titles]
    lines = []
    left_out: set[str] = set()
    for model in study.lines:
        seeds = measured.seeds(model)
        for seed in seeds:
            left_out.update(measured.mfr(model, seed)[1])
        lines.append(
            [
                study.title_of(model),
                ", ".join(map(str, seeds)) or OPEN,
                *(
                    interval(measured.values(model, seeds, measure))
                    for measure in shown
                ),
            ]
        )
    table = markdown(heading, lines)
    if not left_out:
        return table
    named = ", ".join(sorted(left_out)).replace("_", " ")
    return (
        f"{table}\n\nLeft out of mFR, in seeds whose baseline never flips "
        f"there: {named}."
    )


def count_verdicts(
    shown: Sequence[studies.Study], measured: measures.Measurements
) -> str:
    """Return how many of all claims agree, and which do not."""
    claims = [claim for study in shown for claim in study.claims]
    counts: dict[str, list[str]] = {}
    for claim in claims:
        found = measured.differences(claim)
        counts.setdefault(measures.judge(found), []).append(claim.text)
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


def of_undecided(
    shown: Sequence[studies.Study], measured: measures.Measurements
) -> str:
    """Return what each undecided direction would need to be decided."""
    heading = [
        "undecided direction",
        "measure",
        "draws",
        "mean, points",
        "spread of a draw",
        f"draws for power {power.POWER:g}",
        f"{power.MOST_DRAWS} draws would show",
        "so",
    ]
    groups = [
        (claim, differences)
        for study in shown
        for claim in study.claims
        if measures.judge(differences := measured.differences(claim))
        == "undecided"
    ]
    lines = []
    for claim, differences in groups:
        need = power.need_of(differences)
        many = f"more than {power.MOST_DRAWS}"
        lines.append(
            [
                claim.text,
                MEASURES[claim.measure],
                str(len(differences)),
                f"{need.mean:+.2f}",
                f"{need.spread:.2f}",
                f"{need.num_draws:,}" if need.num_draws else many,
                f"{need.visible:.2f} or more",
                "too small to see here"
                if need.is_too_small
                else f"{need.num_draws} draws would decide it",
            ]
        )
    return "\n\n".join([markdown(heading, lines), *_pooled(groups)])


def _pooled(
    groups: Sequence[tuple[studies.Claim, Sequence[float]]],
) -> list[str]:
    """Return the sentence on the spread of all undecided accuracies."""
    of_accuracy = [
        differences
        for claim, differences in groups
        if claim.measure == "accuracy"
    ]
    if not of_accuracy:
        return []
    spread = power.pooled_spread(of_accuracy)
    visible = spread * power.smallest_visible(power.MOST_DRAWS)
    return [
        f"Pooled over these {len(of_accuracy)} directions of top-1 accuracy "
        f"the spread of a draw is {spread:.2f} points: with it "
        f"{power.MOST_DRAWS} draws would show {visible:.2f} points or more."
    ]


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
            str(record["seed"]),
            str(labels["iteration"]),
            f"{100 * labels['accuracy']:.2f} % of {labels['num_images']:,}",
            f"{labels['num_selected']:,}",
            f"{100 * labels['selected_accuracy']:.2f} %",
            f"{sum(labels['rows_per_class']):,}",
        ]
        for record in records
        if record["arm"] == arm
        for labels in record["pseudo_labels"]
    ]
    return markdown(heading, lines)


def markdown(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of one heading and any number of lines."""
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
