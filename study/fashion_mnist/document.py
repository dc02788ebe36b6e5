"""Writes the tables and plots of Fashion-MNIST into their document."""

from noisy_student_tf import files
from study import measures, plots, run_records, tables
from study.fashion_mnist import arms, directions, drawn_labels, search


def rewrite(document: str, records: str) -> None:
    """Write all tables and plots anew from the records.

    Args:
        document: Path of the document, in which each table has a place. The
            plots lie beside it, in a folder of its name.
        records: Folder of the records.

    Raises:
        ValueError: The document lacks a table's place.
    """
    found = run_records.read_all(records)
    measured = measures.Measurements(found, directions.BASELINE)
    text = files.read_text(document)
    for study in directions.STUDIES:
        table = tables.of_study(study, measured)
        text = tables.insert(text, study.name, table)
    main = next(each for each in directions.STUDIES if each.name == "main")
    text = tables.insert(
        text, "robustness", tables.of_robustness(main, measured)
    )
    text = tables.insert(
        text, "pseudo_labels", tables.of_pseudo_labels(found, arms.MAIN)
    )
    text = tables.insert(
        text, "verdicts", tables.count_verdicts(directions.STUDIES, measured)
    )
    text = tables.insert(
        text, "undecided", tables.of_undecided(directions.STUDIES, measured)
    )
    text = tables.insert(text, "drawn_labels", drawn_labels.of_models(measured))
    text = tables.insert(
        text, "drawn_differences", drawn_labels.of_differences(measured)
    )
    text = tables.insert(text, "search", search.of_trials(found))
    files.write_text(document, text)
    folder = document.removesuffix(".md")
    files.make_directories(folder)
    for name, drawing in (
        ("models", plots.draw_models(main, measured)),
        ("claims", plots.draw_claims(directions.STUDIES, measured)),
    ):
        if drawing:
            path = files.join(folder, f"{name}.svg")
            files.write_text(path, plots.to_svg(drawing))
