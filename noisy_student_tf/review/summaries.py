"""What is said of decisions in a terminal."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from noisy_student_tf import texts, workdirs
from noisy_student_tf.records import corrections, schema
from noisy_student_tf.review import exchange, places

_NUM_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Summary:
    """What people said of a run's images.

    Attributes:
        class_names: Of the run.
        merged: What holds, and where people differ.
        found: Where the images lie.
        unknown_ids: Images that are not the run's.
        unknown_classes: Class -> decisions for it; it is not the run's.
    """

    class_names: Sequence[str]
    merged: corrections.Merged
    found: dict[bytes, places.Place]
    unknown_ids: list[bytes]
    unknown_classes: dict[str, int]


def summarize(
    said: Sequence[corrections.Correction],
    workdir: workdirs.Workdir,
    class_names: Sequence[str],
) -> Summary:
    """Merge decisions, and find their images in a run."""
    merged = corrections.merge(said)
    found = places.find_ids(workdir, list(merged.answers))
    return Summary(
        class_names=class_names,
        merged=merged,
        found=found,
        unknown_ids=[each for each in merged.answers if each not in found],
        unknown_classes=corrections.unknown_classes(
            merged.answers.values(), class_names
        ),
    )


def describe_file(path: str, read: corrections.Read) -> str:
    """Return what a file holds, and what was left out of it."""
    text = f"{path}: {_count(len(read.corrections), 'decision')}"
    if read.damaged:
        text += (
            f"; left out {_listed(map(str, read.damaged), 'half-written line')}"
            ", cut by a kill or a full disk"
        )
    return text


def describe(summary: Summary) -> str:
    """Return what holds by class, where people differ, and what is unknown."""
    blocks = [_table(summary)]
    if summary.merged.disagreements:
        blocks.append(_disagreements(summary))
    held_out = [
        place
        for place in summary.found.values()
        if place.split in places.HELD_OUT
    ]
    if held_out:
        blocks.append(
            f"{_count(len(held_out), 'decision')} of held-out images, with "
            "whose labels the report measures."
        )
    if summary.unknown_ids:
        ids = (each.hex() for each in summary.unknown_ids)
        blocks.append(
            f"Not of this run: {_listed(ids, 'image')}. Decisions of another "
            "data set? Ids are of the source's name and the file's path in it."
        )
    if summary.unknown_classes:
        blocks.append(_unknown_classes(summary))
    return "\n".join(blocks)


def _table(summary: Summary) -> str:
    kinds = {"unlabeled": 0, "same label": 1, "other label": 2, "not here": 3}
    counts: dict[str, list[int]] = collections.defaultdict(lambda: [0] * 4)
    for each in summary.merged.answers.values():
        name = each.class_name or f"({exchange.NONE_NAME})"
        counts[name][kinds[_kind(each, summary)]] += 1
    rows = [["class", *kinds]]
    rows += [
        [name, *map(str, numbers)] for name, numbers in sorted(counts.items())
    ]
    return texts.align(rows, is_ruled=True)


def _kind(each: corrections.Correction, summary: Summary) -> str:
    place = summary.found.get(each.image_id)
    if place is None:
        return "not here"
    if place.label == schema.NO_LABEL:
        return "unlabeled"
    former = summary.class_names[place.label]
    return "same label" if each.class_name == former else "other label"


def _disagreements(summary: Summary) -> str:
    lines = [
        f"People differ on {_count(len(summary.merged.disagreements), 'image')}"
        "; the latest decision holds:"
    ]
    for image_id, said in summary.merged.disagreements.items():
        if len(lines) > _NUM_LISTED:
            lines.append("  ...")
            break
        place = summary.found.get(image_id)
        name = place.key if place else image_id.hex()
        views = (
            f"{each.who}: {each.class_name or exchange.NONE_NAME}"
            for each in said
        )
        lines.append(f"  {name}: {', '.join(views)}")
    return "\n".join(lines)


def _unknown_classes(summary: Summary) -> str:
    return (
        f"Not of this run: {_counted(summary.unknown_classes)}. Its classes "
        f"are {_some(summary.class_names)}."
    )


def _counted(classes: Mapping[str, int]) -> str:
    """Return classes with their numbers of decisions."""
    named = (f"{name} ({count})" for name, count in sorted(classes.items()))
    return _listed(named, "class")


def describe_taken(source: str, path: str, taken: exchange.Taken) -> str:
    """Return what was taken out of a table, and what was not."""
    lines = [
        f"{source}: {_count(len(taken.corrections), 'decision')} appended to "
        f"{path}; {taken.num_known:,} were there"
    ]
    for images, why in (
        (taken.unknown_images, "not of this run"),
        (taken.ambiguous_images, "several images of the run have this name"),
    ):
        if images:
            lines.append(f"  left out, {why}: {_listed(images, 'image')}")
    if taken.unknown_classes:
        lines.append(
            f"  left out, no such class: {_counted(taken.unknown_classes)}"
        )
    return "\n".join(lines)


def _listed(items: Iterable[str], noun: str) -> str:
    """Return `2 images: a, b`, cut after some."""
    listed = list(items)
    return f"{_count(len(listed), noun)}: {_some(listed)}"


def _count(number: int, noun: str) -> str:
    """Return `1 class`, `2 classes`."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def _some(items: Sequence[str]) -> str:
    text = ", ".join(items[:_NUM_LISTED])
    return text if len(items) <= _NUM_LISTED else f"{text}, ..."
