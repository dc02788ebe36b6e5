"""Models of several runs on the images that were held out of both."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.evaluation import results
from noisy_student_tf.evaluation.significance import paired
from noisy_student_tf.records import lookups, parquet_files, shards
from noisy_student_tf.report import run_sections, thumbnails
from noisy_student_tf.report.compared import compared_runs


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model beside a model of the first run.

    Attributes:
        run, model: The one.
        baseline, baseline_model: The other one.
    """

    run: compared_runs.Run
    model: str
    baseline: compared_runs.Run
    baseline_model: str

    @property
    def is_of_chosen(self) -> bool:
        """Tell whether both stand for their runs."""
        chosen = (self.run.chosen, self.baseline.chosen)
        return (self.model, self.baseline_model) == chosen

    @functools.cached_property
    def joined(self) -> tuple[str, paired.Joined] | None:
        """The split that both were measured on, and its images.

        Test images where there are common ones, else validation images.

        Raises:
            ValueError: A file is damaged.
        """
        for split in compared_runs.SPLITS:
            paths = (
                self.run.held_out(self.model, split),
                self.baseline.held_out(self.baseline_model, split),
            )
            if all(paths):
                joined = paired.join(*paths)
                if len(joined.ids):
                    return split, joined
        return None

    def compare(self) -> results.Row | None:
        """Return a row of a comparison, or None without common images."""
        if not self.joined:
            return None
        split, joined = self.joined
        row = {
            "model": f"{self.run.name}/{self.model}",
            "baseline": f"{self.baseline.name}/{self.baseline_model}",
            "title": _title(self.run, self.model),
            "kind": run_sections.model_kind(self.model),
            "baseline_title": _title(self.baseline, self.baseline_model),
            "baseline_kind": run_sections.model_kind(self.baseline_model),
            "measure": results.COMPARISON,
            "split": split,
            **paired.of_joined(joined),
        }
        return row | {
            "is_shown": results.is_shown(row),
            "p_text": results.format_p(row["p_value"]),
        }


def _title(run: compared_runs.Run, model: str) -> str:
    return f"{run.name}: {run_sections.model_title(model)}"


def pairs(runs: Sequence[compared_runs.Run]) -> list[Pair]:
    """Return what is compared with the first run.

    The models that stand for the runs, then models of the same name. Runs of
    other classes are left out.
    """
    first, *others = runs
    found: dict[tuple[str, ...], Pair] = {}
    for run in others:
        if run.class_names == first.class_names:
            names = [(run.chosen, first.chosen)]
            names += [(e, e) for e in run.measured if e in first.measured]
            for model, other in names:
                key = (run.name, model, other)
                found.setdefault(key, Pair(run, model, first, other))
    return list(found.values())


def obstacles(
    runs: Sequence[compared_runs.Run], found: Sequence[Pair]
) -> Iterator[str]:
    """Yield a sentence for what cannot be compared, or is not finished.

    Args:
        runs: The first one is what the others are compared with.
        found: What `pairs` returned of them.
    """
    first, *others = runs
    for run in runs:
        if run.missing:
            yield (
                f"{run.name} is unfinished: {', '.join(run.missing)} "
                f"{'is' if len(run.missing) == 1 else 'are'} not made yet."
            )
    for run in others:
        if run.class_names != first.class_names:
            yield (
                f"{run.name} has other classes than {first.name} "
                f"({_classes(run)}; {_classes(first)}): accuracies of both say "
                "nothing about each other, and images are not compared."
            )
        elif not any(e.joined for e in found if e.run is run):
            yield (
                f"{run.name} and {first.name} have no held-out image in "
                "common: their accuracies are of different images, and only "
                "their intervals can be compared. Runs of the same sources, "
                "--data.split and --data.split_seed hold out the same."
            )


def _classes(run: compared_runs.Run) -> str:
    names = ", ".join(run.class_names[:5])
    return names + (", ..." if len(run.class_names) > 5 else "")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that one model has right and the other wrong.

    Attributes:
        uri: The thumbnail.
        label: Its class.
        said: What the model says.
        baseline_said: What the other one says.
    """

    uri: str
    label: str
    said: str
    baseline_said: str


def pictures(pair: Pair, *, count: int) -> dict[str, Any] | None:
    """Return pictures that one model alone has right, or None without any.

    Args:
        pair: Of models with common images.
        count: Of each kind at most: those with the smallest ids, which are a
            random sample.
    """
    if not pair.joined or not count:
        return None
    split, joined = pair.joined
    is_right = joined.classes == joined.labels
    baseline_is_right = joined.baseline == joined.labels
    kinds = {
        "gained": np.flatnonzero(is_right & ~baseline_is_right),
        "lost": np.flatnonzero(~is_right & baseline_is_right),
    }
    order = np.argsort(np.argsort(lookups.sortable(joined.ids)))
    shown = {
        name: rows[np.argsort(order[rows])][:count]
        for name, rows in kinds.items()
    }
    ids = joined.ids[np.concatenate(list(shown.values()))]
    uris = _read(pair.run.workdir, split, ids)
    uris = uris or _read(pair.baseline.workdir, split, ids)
    names = pair.run.class_names
    galleries = {
        name: [
            Picture(
                uris[joined.ids[row].tobytes()],
                names[joined.labels[row]],
                names[joined.classes[row]],
                names[joined.baseline[row]],
            )
            for row in rows
            if joined.ids[row].tobytes() in uris
        ]
        for name, rows in shown.items()
    }
    return {
        "title": _title(pair.run, pair.model),
        "baseline_title": _title(pair.baseline, pair.baseline_model),
        "split": split,
        "counts": {name: len(rows) for name, rows in kinds.items()},
        **galleries,
    }


def _read(
    workdir: workdirs.Workdir, split: str, ids: np.ndarray
) -> dict[bytes, str]:
    """Return thumbnails of held-out images; none where the shards are gone."""
    if not len(ids) or not shards.is_finished(workdir.labeled):
        return {}
    wanted = lookups.sortable(ids)
    places = []
    paths = shards.index_paths(workdir.labeled, split)
    if not all(map(files.exists, paths)):
        return {}
    for number, path in enumerate(paths):
        for batch in parquet_files.read_batches(path, ["image_id"]):
            rows = parquet_files.image_ids(batch["image_id"], path)
            places += [
                (number, row.tobytes())
                for row in rows[np.isin(lookups.sortable(rows), wanted)]
            ]
    return thumbnails.read(workdir.labeled, places, split)
