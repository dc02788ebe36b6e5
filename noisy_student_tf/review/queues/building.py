"""Makes a run's queues of what its folder holds, and keeps them.

Of a finished or half-finished run: what a queue needs and is not there is said
in its place. `review/queues/` holds a file a queue and a manifest of what they
were made from; they are made again when that has changed.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
from scipy import special

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import shards
from noisy_student_tf.review.queues import (
    candidates,
    entries,
    facts,
    label_next,
    none_of_the_classes,
    wrong_labels,
    wrong_pseudo_labels,
)

# Changed when the same inputs would give other queues.
_VERSION = 2
_NO_PREDICTIONS = (
    "There is no network yet that has labeled the unlabeled images. Go on with "
    "the run: python -m run_scripts.noisy_student --workdir={root}"
)
_NO_FOLDS = (
    "A label can only be doubted by who has not learned it, and the run has no "
    "folds. Add them, to a finished run, too: python -m "
    "run_scripts.noisy_student --workdir={root} --evaluation.teacher_folds=5"
)
_NO_STUDENT = (
    "No student has learned from pseudo-labels that could be doubted: the run "
    "has not come so far, or keeps the selection of another teacher."
)


def build(
    workdir: workdirs.Workdir, settings: facts.Settings
) -> list[entries.Queue]:
    """Return a run's queues, made or as they are kept.

    Raises:
        FileNotFoundError: There is no run.
        ValueError: What it holds does not fit together.
    """
    found = facts.gather(workdir, settings)
    directory = files.join(workdir.review, "queues")
    made_of = _made_of(found)
    if shards.is_finished(directory):
        if shards.read_manifest(directory)["made_of"] == made_of:
            names = get_args(entries.Name)
            return [entries.read(directory, name) for name in names]
        files.remove(files.join(directory, shards.MANIFEST))
    files.make_directories(directory)
    queues = [_MAKERS[name](found) for name in get_args(entries.Name)]
    for queue in queues:
        entries.write(directory, queue)
    shards.write_manifest(
        directory,
        {
            "made_of": made_of,
            "num_entries": {each.name: len(each.entries) for each in queues},
        },
    )
    return queues


def _made_of(found: facts.Facts) -> dict[str, Any]:
    """Return all that the queues depend on, as it is in a manifest."""
    folders = {"folds": found.workdir.folds}
    if found.model:
        folders["model"] = found.workdir.folder(found.model_name)
    for labeling in found.labelings:
        for name in (labeling.predictions, labeling.selection):
            folders[name] = found.workdir.folder(name)
    return {
        "version": _VERSION,
        "settings": dataclasses.asdict(found.settings),
        "model": found.model_name,
        "fingerprints": {
            name: shards.manifest_fingerprint(folder)
            for name, folder in folders.items()
            if shards.is_finished(folder)
        },
    }


def _label_next(found: facts.Facts) -> entries.Queue:
    queue = entries.Queue(
        name="label_next",
        title="Label these next",
        about="Unlabeled images that the network is unsure of, and each unlike "
        "the others: what the next one learns most from.",
    )
    if missing := _missing_predictions(found):
        return dataclasses.replace(queue, missing=missing)
    looked_at = found.looked_at
    unsure = (found.unsure.uncertain, found.unsure.sample)
    rows = looked_at.outputs.rows(candidates.unique(unsure))
    probabilities = looked_at.probabilities[rows]
    chosen = label_next.choose(
        probabilities,
        looked_at.outputs.features[rows],
        length=found.settings.length,
        seed=found.config.seed,
    )
    return dataclasses.replace(
        queue,
        model=found.model_name,
        entries=tuple(
            found.entry(
                looked_at.places[rows[row]],
                probabilities[row],
                why=f"{_between(found, probabilities[row])}; {_alike(size)}",
                suggested=int(probabilities[row].argmax()),
            )
            for row, size in zip(
                chosen.rows, chosen.num_alike.tolist(), strict=True
            )
        ),
    )


def _between(found: facts.Facts, probabilities: np.ndarray) -> str:
    """Return which classes a network cannot decide between."""
    best = entries.best_of(probabilities, found.class_names)[:2]
    given = (f'"{name}" {entries.percent(share)}' for name, share in best)
    return f"{found.model_name} gives {' and '.join(given)}"


def _alike(size: int) -> str:
    if size == 1:
        return "none of those that were looked at is like it"
    return f"{size - 1} of those that were looked at are like it"


def _missing_predictions(found: facts.Facts) -> str:
    if found.labelings and found.model:
        return ""
    return _NO_PREDICTIONS.format(root=found.workdir.root)


def _wrong_labels(found: facts.Facts) -> entries.Queue:
    queue = entries.Queue(
        name="wrong_labels",
        title="Wrong labels?",
        about="Labeled images that teachers who have not seen them take for "
        "another class, by confident learning.",
    )
    if not shards.is_finished(found.workdir.folds):
        missing = _NO_FOLDS.format(root=found.workdir.root)
        return dataclasses.replace(queue, missing=missing)
    judged = facts.held_out_rows(found.folds)
    probabilities = special.softmax(judged.logits.astype(np.float64), axis=1)
    doubted = wrong_labels.find(probabilities, judged.labels)
    rows = doubted.rows[: found.settings.length]
    places = found.find([each.tobytes() for each in judged.ids[rows]])
    shown = (
        found.entry(
            place,
            probabilities[row],
            label=int(judged.labels[row]),
            why=_doubt(found, probabilities[row], judged.labels[row], other)
            + is_confident * ", as much as images of that class get",
            suggested=int(other),
        )
        for place, row, other, is_confident in zip(
            places,
            rows,
            doubted.classes,
            doubted.is_confident.tolist(),
            strict=False,
        )
    )
    return dataclasses.replace(
        queue, model="teachers of the folds", entries=tuple(shown)
    )


def _doubt(
    found: facts.Facts, probabilities: np.ndarray, label: int, other: int
) -> str:
    """Return what a teacher of a fold says of an image."""
    return (
        f'a teacher that has not seen it gives "{found.class_names[label]}" '
        f"{entries.percent(probabilities[label])} and "
        f'"{found.class_names[other]}" {entries.percent(probabilities[other])}'
    )


def _wrong_pseudo_labels(found: facts.Facts) -> entries.Queue:
    queue = entries.Queue(
        name="wrong_pseudo_labels",
        title="Wrong pseudo-labels?",
        about="Images that a student learned from, with a label that it or the "
        "next teacher would not give again.",
        model=found.model_name,
    )
    doubts = list(_doubts(found))
    if not doubts:
        return dataclasses.replace(queue, missing=_NO_STUDENT)
    worst: dict[bytes, tuple[float, str, int, np.ndarray]] = {}
    for by, labeled in doubts:
        gaps = wrong_pseudo_labels.doubts(labeled.probabilities, labeled.labels)
        for row in wrong_pseudo_labels.find(
            labeled.probabilities, labeled.labels
        ):
            image_id = labeled.ids[row].tobytes()
            if gaps[row] > worst.get(image_id, (0.0,))[0]:
                worst[image_id] = (
                    float(gaps[row]),
                    by,
                    int(labeled.labels[row]),
                    labeled.probabilities[row],
                )
    ids = sorted(worst, key=lambda each: (-worst[each][0], each))
    ids = ids[: found.settings.length]
    shown = []
    for place, image_id in zip(found.find(ids), ids, strict=True):
        _, by, label, probabilities = worst[image_id]
        why = (
            f'it was learned as "{found.class_names[label]}", which {by} gives '
            f"{entries.percent(probabilities[label])} now"
        )
        shown.append(
            found.entry(
                place,
                probabilities,
                why=why,
                suggested=int(probabilities.argmax()),
                label=label,
            )
        )
    return dataclasses.replace(queue, entries=tuple(shown))


def _doubts(found: facts.Facts) -> Iterator[tuple[str, candidates.Labeled]]:
    """Yield who answers, and what was selected with its answers."""
    pairs = zip(found.labelings, found.labelings[1:], strict=False)
    for earlier, later in pairs:
        by = later.teacher
        yield (
            by if isinstance(by, str) else by.name,
            candidates.contradicted(
                found.workdir, earlier, later, count=found.settings.length
            ),
        )
    if found.selected:
        looked_at = found.looked_at
        rows = looked_at.rows(found.selected.ids)
        yield (
            found.model_name,
            dataclasses.replace(
                found.selected, probabilities=looked_at.probabilities[rows]
            ),
        )


def _none_of_the_classes(found: facts.Facts) -> entries.Queue:
    queue = entries.Queue(
        name="none_of_the_classes",
        title="None of the classes?",
        about="Unlabeled images with more energy than images of the classes "
        "have.",
    )
    if missing := _missing_predictions(found):
        return dataclasses.replace(queue, missing=missing)
    looked_at = found.looked_at
    odd = none_of_the_classes.find(
        none_of_the_classes.energies(looked_at.outputs.logits),
        found.held_out_energies(),
    )
    shown = (
        found.entry(
            looked_at.places[row],
            looked_at.probabilities[row],
            why=_energy(energy, share, len(looked_at.places)),
            suggested=None,
        )
        for row, energy, share in zip(
            odd.rows[: found.settings.length],
            odd.energies.tolist(),
            odd.shares_above.tolist(),
            strict=False,
        )
    )
    return dataclasses.replace(
        queue, model=found.model_name, entries=tuple(shown)
    )


def _energy(energy: float, share: float, num_images: int) -> str:
    if np.isnan(share):
        return (
            f"its energy, {energy:.2f}, is among the highest of {num_images:,} "
            "images"
        )
    held_out = f"{100 * share:.1f} %" if share else "none"
    return (
        f"its energy, {energy:.2f}, is as high in {held_out} of the held-out "
        "images"
    )


_MAKERS: dict[str, Callable[[facts.Facts], entries.Queue]] = {
    "label_next": _label_next,
    "wrong_labels": _wrong_labels,
    "wrong_pseudo_labels": _wrong_pseudo_labels,
    "none_of_the_classes": _none_of_the_classes,
}
