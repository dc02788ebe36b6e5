"""What a reader of a run's numbers has to know first.

Everything is derived from manifests and `results.json`; nothing is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from noisy_student_tf import recipes, workdirs
from noisy_student_tf.evaluation import metrics, results
from noisy_student_tf.evaluation.significance import chance
from noisy_student_tf.records import shards

# The most frequent class has so many images for one of the rarest.
_IMBALANCE = 100
_NUM_NAMED = 5

Manifest = Mapping[str, Any]


def of_run(workdir: workdirs.Workdir) -> list[str]:
    """Return all cautions of what a run has made, the gravest first.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    if not shards.is_finished(workdir.labeled):
        return []
    labeled = shards.read_manifest(workdir.labeled)
    recipe = recipes.of(workdirs.read_config(workdir))
    found = [*of_data(labeled)]
    learned: list[str] = []
    for model in recipe.models:
        folder = workdir.folder(model.folder)
        if shards.is_finished(folder):
            manifest = shards.read_manifest(folder)
            if model == recipe.teacher and shards.is_finished(workdir.folds):
                judged = shards.read_manifest(workdir.folds)["standing"]
                manifest["standing"] = {**manifest["standing"], **judged}
            learned += of_model(model.title, manifest, labeled["class_names"])
    rows = results.read(workdir.results)
    return [*learned, *of_comparisons(recipe, rows), *found]


def of_data(labeled: Manifest) -> Iterator[str]:
    """Yield what is to be known of the labeled images.

    Args:
        labeled: The manifest of the labeled shards.
    """
    names, counts = labeled["class_names"], labeled["counts_per_class"]
    train = counts["train"]
    single = [name for name, n in zip(names, train, strict=True) if n == 1]
    if single:
        yield (
            f"{_listed(single)}: one labeled image to train on. What the "
            "models say of a class then is what they say of that image; give "
            "more, or leave the class out."
        )
    fewest, most = min(train), max(train)
    if fewest and most >= _IMBALANCE * fewest:
        yield (
            f"Of {names[train.index(most)]!r} there are {most:,} labeled "
            f"images, of {names[train.index(fewest)]!r} {fewest:,}: accuracy "
            "says little here. Look at the recall of each class."
        )
    for split in ("validation", "test"):
        held_out = counts.get(split)
        if held_out is None:
            continue
        absent = [n for n, c in zip(names, held_out, strict=True) if not c]
        if absent:
            yield (
                f"{_listed(absent)}: no {split} images, so that nothing is "
                "known of how well they are told."
            )
    yield from _of_contradictions(labeled.get("in_several_classes", []))
    num_validation = sum(counts.get("validation", []))
    if num_validation < metrics.MIN_IMAGES:
        which = (
            f"There are {num_validation:,} validation images, fewer than "
            f"{metrics.MIN_IMAGES}: which model is exported is left to chance."
            if num_validation
            else "There are no validation images: the last model is exported, "
            "be it better or worse."
        )
        yield (
            f"{which} Raise --data.validation_fraction; "
            "--evaluation.teacher_folds=5 measures the teacher on all labeled "
            "images."
        )


def _of_contradictions(several: Sequence[str]) -> Iterator[str]:
    if several:
        yield (
            f"{len(several):,} pictures stand in several classes, and are "
            f"trained with each label: {'; '.join(several[:_NUM_NAMED])}"
            f"{'; ...' if len(several) > _NUM_NAMED else ''}. Keep the right "
            "one of each."
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NUM_NAMED])
    return shown + (", ..." if len(names) > _NUM_NAMED else "")


def of_model(
    title: str, manifest: Manifest, class_names: Sequence[str]
) -> Iterator[str]:
    """Yield what is to be known of a model.

    Args:
        title: Of the model.
        manifest: Its own.
        class_names: Of the run.
    """
    standings = chance.read(manifest)
    if not standings:
        return
    split = chance.deciding(standings)
    found = standings[split]
    if not found.is_above_chance:
        name = class_names[found.most_frequent_class]
        yield (
            f"{title} is not significantly better than naming one class for "
            f"every image ({split}): {chance.describe(found, name)}."
        )
    elif found.num_named_classes < found.num_classes:
        yield (
            f"{title} names {found.num_named_classes} of the "
            f"{found.num_classes} classes of the {split} images, and never "
            "the others."
        )


def of_comparisons(
    recipe: recipes.Recipe, rows: Sequence[results.Row]
) -> Iterator[str]:
    """Yield where the last student's gain is none that the images show.

    Args:
        recipe: Of the run.
        rows: Of `results.json`.
    """
    splits = {row["split"] for row in results.headline_rows(rows)}
    compared = [row for row in rows if results.is_comparison(row)]
    measured = {row["model"] for row in compared}
    students = [each.name for each in recipe.students if each.name in measured]
    for row in compared:
        is_last = row["model"] == students[-1] if students else False
        if is_last and row["split"] in splits and not results.is_shown(row):
            low, high = (100 * value for value in row["interval_95"])
            yield (
                f"The {row['num_images']:,} {row['split']} images show no "
                f"difference between {row['model']} and {row['baseline']}: "
                f"{100 * row['difference']:+.1f} points, 95 % interval "
                f"{low:+.1f} to {high:+.1f}."
            )
