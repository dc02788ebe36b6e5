"""All studies by name, and what writes the document of each experiment."""

import difflib
from collections.abc import Callable, Mapping, Sequence

from study import experiments, studies
from study.fashion_mnist import directions, document, drawn_labels, search
from study.solar_cells import protocol, results

STUDIES = (
    *directions.STUDIES,
    drawn_labels.STUDY,
    search.STUDY,
    *protocol.STUDIES,
)

# Path of a document and folder of records -> tables are written anew.
_REWRITE: Mapping[str, Callable[[str, str], None]] = {
    directions.EXPERIMENT.name: document.rewrite,
    drawn_labels.EXPERIMENT.name: document.rewrite,
    search.EXPERIMENT.name: document.rewrite,
    protocol.EXPERIMENT.name: results.rewrite,
}


def study(name: str) -> studies.Study:
    """Return a study.

    Raises:
        ValueError: There is none of that name; the nearest one is given.
    """
    (found,) = of_names([name])
    return found


def of_names(names: Sequence[str]) -> list[studies.Study]:
    """Return studies of one experiment; its name stands for all of them.

    Raises:
        ValueError: There is none of a name, and the nearest one is given; or
            they are of several experiments.
    """
    by_name: dict[str, list[studies.Study]] = {}
    for each in STUDIES:
        by_name.setdefault(each.experiment.name, []).append(each)
        by_name[each.name] = [each]
    chosen: list[studies.Study] = []
    for name in names:
        if name not in by_name:
            nearest = difflib.get_close_matches(name, by_name, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(
                f"--name={name}: no such study.{hint} Accepted: "
                f"{', '.join(by_name)}."
            )
        chosen += by_name[name]
    sets = {each.experiment.name for each in chosen}
    if len(sets) != 1:
        raise ValueError(
            f"--name={','.join(names)}: studies of {', '.join(sorted(sets))}; "
            "accepted are those of one set of images at once."
        )
    return chosen


def rewrite(
    experiment: experiments.Experiment, document: str, records: str
) -> None:
    """Write all tables and plots of an experiment anew from its records.

    Args:
        experiment: Which.
        document: Path of its document, in which each table has a place.
        records: Folder of the records.

    Raises:
        ValueError: The document lacks a table's place.
    """
    _REWRITE[experiment.name](document, records)
