"""The page of one iteration's pseudo-labels: one HTML file, self-contained."""

import collections
import dataclasses
import heapq
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.records import duplicates, lookups, shards
from noisy_student_tf.report import (
    iterations,
    label_counts,
    pages,
    pseudo_label_rows,
    run_sections,
    svg_plots,
    thumbnails,
)

# Confidences that the galleries of a class show apart.
BANDS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
_IMAGES_PER_BAND = 4
_IMAGES_PER_FATE = 24
_PAIRS_SHOWN = 24
_CUTS_SHOWN = 100

_WHY = {
    pseudo_label_rows.BELOW_THRESHOLD: "confidence below the threshold",
    pseudo_label_rows.BEYOND_QUOTA: "above the threshold, but the class has "
    "more confident ones up to its quota",
    pseudo_label_rows.NEAR_DUPLICATE: "near duplicate; got no label",
}


@dataclasses.dataclass
class _Gathered:
    """What one pass over all rows keeps.

    Attributes:
        num_images: Fate -> images.
        copies: Copies -> images.
        bands: (class, band) -> images to show, whatever became of them.
        dropped: Fate -> images to show.
    """

    num_images: collections.Counter[str]
    copies: collections.Counter[int]
    bands: dict[tuple[int, int], list[label_counts.Pick]]
    dropped: dict[str, list[label_counts.Pick]]


def write_page(
    path: str,
    workdir: workdirs.Workdir,
    iteration: int,
    *,
    classes: Sequence[str] = (),
    looked_up: Sequence[tuple[label_counts.Pick, dict[str, Any]]] = (),
) -> None:
    """Write the page.

    Args:
        path: Where it appears.
        workdir: Of the run.
        iteration: Whose pseudo-labels, from 1; 0: a selecting teacher's.
        classes: Names of the classes whose images are shown; empty: all, or
            20 evenly spaced ones.
        looked_up: Single images to show first; see `pseudo_label_table.find`.

    Raises:
        FileNotFoundError: The predictions are unfinished.
        ValueError: A class is unknown.
    """
    shards.read_manifest(workdir.predictions(iteration))
    run_config = workdirs.read_config(workdir)
    class_names = shards.read_manifest(workdir.labeled)["class_names"]
    shown = class_numbers(classes, class_names)
    contents = iterations.read_iteration(workdir, iteration, shown)
    gathered = _gather(workdir, iteration, shown)
    pairs = _pairs(workdir)
    pictures = _pictures(workdir, gathered, looked_up)
    text = pages.render(
        "pseudo_labels.html",
        name=run_sections.name(workdir),
        iterations=[contents],
        iteration=contents,
        is_open=True,
        gathered=gathered,
        why=_WHY,
        bands=[f"{a:g} \u2013 {b:g}" for a, b in itertools.pairwise(BANDS)],
        others={"pictures": pictures, "class_names": class_names},
        copies_plot=_copies_plot(gathered),
        cuts=_cuts(workdir, iteration, contents),
        pairs=pairs[:_PAIRS_SHOWN],
        num_pairs=len(pairs),
        pair_pictures=_pair_pictures(workdir, pairs[:_PAIRS_SHOWN]),
        looked_up=looked_up,
        built=run_sections.read_data(workdir),
        settings=_settings(run_config),
    )
    files.write_text(path, text)


def _pictures(
    workdir: workdirs.Workdir,
    gathered: _Gathered,
    looked_up: Sequence[tuple[label_counts.Pick, dict[str, Any]]],
) -> dict[bytes, str]:
    """Return the pictures of all images that are shown or asked for."""
    found = [pick for pick, _ in looked_up]
    for picks in (*gathered.bands.values(), *gathered.dropped.values()):
        found += picks
    return thumbnails.read(workdir.unlabeled, [pick.place for pick in found])


def _copies_plot(gathered: _Gathered) -> str:
    if not gathered.copies:
        return ""
    return svg_plots.copies_histogram(
        gathered.copies, description="Images by their number of copies"
    )


def class_numbers(
    names: Sequence[str], class_names: Sequence[str]
) -> list[int]:
    """Return the numbers of classes; none: what the report shows, too.

    Raises:
        ValueError: A class is unknown.
    """
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise ValueError(
            f"--classes={','.join(names)}: there is no class "
            f"{', '.join(unknown)}; classes are "
            f"{', '.join(class_names[:20])}"
            f"{', ...' if len(class_names) > 20 else ''}."
        )
    if names:
        return [class_names.index(name) for name in names]
    return iterations.shown_classes(len(class_names))


def _settings(run_config: configs.Config) -> list[tuple[str, str]]:
    sections = ("labeling", "selection")
    return [
        (field.name, field.value)
        for field in run_sections.compare_with_preset(run_config)
        if field.name.split(".")[0] in sections
    ]


def _gather(
    workdir: workdirs.Workdir, iteration: int, shown: Sequence[int]
) -> _Gathered:
    """Read all rows once, and keep counts and a bounded number of images."""
    gathered = _Gathered(
        collections.Counter(),
        collections.Counter(),
        collections.defaultdict(list),
        collections.defaultdict(list),
    )
    for rows in pseudo_label_rows.read(workdir, iteration):
        fates = rows.fates()
        for number, fate in enumerate(pseudo_label_rows.FATES):
            gathered.num_images[fate] += int((fates == number).sum())
        gathered.copies.update(rows.copies.tolist())
        _keep_bands(gathered, rows, shown)
        _keep_dropped(gathered, rows, fates)
    gathered.num_images[pseudo_label_rows.NEAR_DUPLICATE] = sum(
        1 for _ in pseudo_label_rows.read_duplicates(workdir)
    )
    gathered.copies.pop(0, None)
    return gathered


def _keep_bands(
    gathered: _Gathered,
    rows: pseudo_label_rows.LabeledImages,
    shown: Sequence[int],
) -> None:
    """Keep a few images of each class and band: those with the least ids."""
    band_of = np.searchsorted(BANDS[1:-1], rows.confidences, side="right")
    for class_id in shown:
        of_class = np.flatnonzero(rows.class_ids == class_id)
        for band in np.unique(band_of[of_class]).tolist():
            places = of_class[band_of[of_class] == band]
            words = lookups.sortable(rows.ids[places])
            first = places[np.argsort(words)[:_IMAGES_PER_BAND]]
            gathered.bands[class_id, band] = heapq.nsmallest(
                _IMAGES_PER_BAND,
                gathered.bands[class_id, band] + list(map(rows.pick, first)),
                key=lambda pick: pick.image_id,
            )


def _keep_dropped(
    gathered: _Gathered,
    rows: pseudo_label_rows.LabeledImages,
    fates: np.ndarray,
) -> None:
    """Keep the most confident ones of those that were left out."""
    for fate in (
        pseudo_label_rows.BELOW_THRESHOLD,
        pseudo_label_rows.BEYOND_QUOTA,
    ):
        places = np.flatnonzero(fates == pseudo_label_rows.FATES.index(fate))
        order = np.argsort(-rows.confidences[places], kind="stable")
        first = places[order[:_IMAGES_PER_FATE]]
        gathered.dropped[fate] = heapq.nsmallest(
            _IMAGES_PER_FATE,
            gathered.dropped[fate] + list(map(rows.pick, first)),
            key=lambda pick: (-pick.confidence, pick.image_id),
        )


def _cuts(
    workdir: workdirs.Workdir, iteration: int, contents: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return threshold and copies of the shown classes, from the summary."""
    path = files.join(workdir.selection(iteration), "summary.json")
    if not files.exists(path):
        return []
    per_class = files.read_json(path)["per_class"]
    shown = contents["shown"][:_CUTS_SHOWN]
    return [
        {**per_class[class_id], "name": contents["class_names"][class_id]}
        for class_id in shown
    ]


def _pairs(workdir: workdirs.Workdir) -> list[tuple[int, duplicates.Duplicate]]:
    """Return the near duplicates, those of held-out images first."""
    order = {"test": 0, "validation": 1, "train": 2}
    return sorted(
        pseudo_label_rows.read_duplicates(workdir),
        key=lambda pair: (
            order.get(pair[1].kept_split, 3),
            -pair[1].distance,
            pair[1].image_id,
        ),
    )


def _pair_pictures(
    workdir: workdirs.Workdir, pairs: Sequence[tuple[int, duplicates.Duplicate]]
) -> dict[bytes, str]:
    """Return thumbnails of both images of each pair, by id."""
    wanted: dict[str, list[tuple[int, bytes]]] = collections.defaultdict(list)
    for shard_index, each in pairs:
        wanted["unlabeled"].append((shard_index, each.image_id))
        wanted[each.kept_split].append((each.kept_shard, each.kept_id))
    found: dict[bytes, str] = {}
    for split, places in wanted.items():
        directory = (
            workdir.unlabeled if split == "unlabeled" else workdir.labeled
        )
        found.update(thumbnails.read(directory, places, split))
    return found
