"""Writes the tables on solar cells into their document."""

from collections.abc import Sequence

from noisy_student_tf import files
from study import measures, run_records, studies, tables
from study.solar_cells import protocol

_MET, _MISSED = "met", "missed"


def rewrite(document: str, records: str) -> None:
    """Write all tables anew from the records.

    Args:
        document: Path of the document, in which each table has a place.
        records: Folder of the records.

    Raises:
        ValueError: The document lacks a table's place.
    """
    found = run_records.read_all(records)
    text = files.read_text(document)
    for study, count in zip(
        protocol.STUDIES, protocol.LABELS_PER_CLASS, strict=True
    ):
        measured = measures.Measurements(found, study.baseline)
        main = protocol.name_of("noisy_student", count)
        contents = {
            f"models_{count}": of_models(study, measured),
            f"differences_{count}": of_differences(study, measured),
            f"pseudo_labels_{count}": tables.of_pseudo_labels(found, main),
        }
        if count == protocol.DECISIVE:
            contents["bars"] = of_bars(protocol.BARS, study, measured)
            contents["corruptions"] = of_corruptions(study, measured)
        for name, table in contents.items():
            text = tables.insert(text, name, table)
    files.write_text(document, text)


def of_models(study: studies.Study, measured: measures.Measurements) -> str:
    """Return the means over draws of every model, and their intervals."""
    heading = ["model", "parameters", "steps", "draws", *_titles()]
    lines = [
        [
            study.title_of(model),
            tables.parameters(model, measured),
            _steps(model, measured),
            _draws(measured.seeds(model), study),
            *(
                tables.interval(measured.values(model, study.seeds, measure))
                for measure in protocol.MEASURES
            ),
        ]
        for model in study.lines
    ]
    return tables.markdown(heading, lines)


def of_differences(
    study: studies.Study, measured: measures.Measurements
) -> str:
    """Return by how much models are above the baseline of the same draw."""
    lines = [
        [
            study.title_of(model),
            *(
                tables.interval(
                    measured.paired(model, study.baseline, measure), signed=True
                )
                for measure in protocol.MEASURES
            ),
        ]
        for model in study.lines
        if model != study.baseline
    ]
    return tables.markdown(["model", *_titles()], lines)


def of_bars(
    bars: Sequence[protocol.Bar],
    study: studies.Study,
    measured: measures.Measurements,
) -> str:
    """Return what had to come out, and what did."""
    heading = [
        "bar",
        "measure",
        "needed, points",
        "by draw",
        "mean, 95 % interval",
        "verdict",
    ]
    lines = []
    for bar in bars:
        found = measured.paired(bar.better, bar.worse, bar.measure)
        lines.append(
            [
                bar.text,
                tables.MEASURES[bar.measure],
                f"{bar.points:+g}",
                ", ".join(f"{value:+.1f}" for value in found) or tables.OPEN,
                tables.interval(found, signed=True),
                judge(bar.points, found, num_draws=len(study.seeds)),
            ]
        )
    return tables.markdown(heading, lines)


def judge(
    points: float, differences: Sequence[float], *, num_draws: int
) -> str:
    """Tell whether a bar is met.

    Args:
        points: That the mean has to reach.
        differences: Of each draw.
        num_draws: With fewer, nothing is said yet.
    """
    if len(differences) < num_draws:
        return tables.OPEN
    mean, low, _ = measures.summarize(differences)
    return _MET if mean >= points and low > 0 else _MISSED


def of_corruptions(
    study: studies.Study, measured: measures.Measurements
) -> str:
    """Return the mCE of the models that were measured under corruptions."""
    lines = []
    for model in study.lines:
        seeds = measured.seeds(model)
        found = measured.values(model, seeds, "mce")
        if found:
            line = [study.title_of(model), _draws(found, study)]
            lines.append([*line, tables.interval(found)])
    title = tables.MEASURES["mce"]
    return tables.markdown(["model", "draws", title], lines)


def _titles() -> list[str]:
    return [tables.MEASURES[measure] for measure in protocol.MEASURES]


def _steps(model: studies.Model, measured: measures.Measurements) -> str:
    """Return how many steps trained a model, of the first draw that is there.

    What was adopted, or is not ours, has none.
    """
    for seed in measured.seeds(model)[:1]:
        models = measured.records[model.arm, seed]["models"]
        steps = models.get(model.name, {}).get("total_steps")
        if steps:
            return f"{steps:,}"
    return "-"


def _draws(found: Sequence[float], study: studies.Study) -> str:
    return f"{len(found)} of {len(study.seeds)}"
