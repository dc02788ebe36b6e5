"""What people said of images, applied while shards are planned.

Confirmed images join the training images, those of none of the classes leave,
and corrected labels take the place of others. Held-out images keep their split
and their label: what a report measures with does not move under it.

The decisions that a labeled directory is planned with are copied into it, and
the unlabeled directory is planned with the copy. So both are made of the same,
though people go on deciding.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from data_prep.shards import splits
from data_prep.sources import items
from noisy_student_tf import configs, files
from noisy_student_tf.records import corrections

_ROLE = "corrections"
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Answers:
    """What people say now.

    Attributes:
        by_id: Image id -> what holds.
        num_disagreements: Images on which people differ.
    """

    by_id: Mapping[bytes, corrections.Correction] = dataclasses.field(
        default_factory=dict
    )
    num_disagreements: int = 0

    def label(self, item: items.Item, class_names: Sequence[str]) -> int | None:
        """Return the class that people gave an image; None: none of them."""
        name = self.by_id[item.image_id].class_name
        return None if name is None else class_names.index(name)


def source_of(data: configs.DataConfig) -> dict[str, str]:
    """Return role -> specification, as manifests name sources; may be empty."""
    return {_ROLE: f"{_ROLE}:{data.corrections}"} if data.corrections else {}


def read(data: configs.DataConfig, directory: str = "") -> Answers:
    """Return what people say.

    Args:
        data: Names their files.
        directory: A labeled directory, whose copy is read instead; empty: none
            is built yet.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file holds no decisions.
    """
    if not data.corrections:
        return Answers()
    paths = data.corrections.split(",")
    if directory:
        paths = [files.join(directory, corrections.FILE)]
    said: list[corrections.Correction] = []
    for path in map(files.expand_home, paths):
        found = corrections.read(path)
        said += found.corrections
        if found.damaged:
            logging.warning(
                "%s: left out half-written lines, cut by a kill or a full "
                "disk: %s.",
                path,
                found.damaged,
            )
    merged = corrections.merge(said)
    return Answers(merged.answers, len(merged.disagreements))


def keep_copy(answers: Answers, directory: str) -> None:
    """Write what a labeled directory is planned with into it."""
    lines = [f"{corrections.to_line(e)}\n" for e in answers.by_id.values()]
    files.write_text(files.join(directory, corrections.FILE), "".join(lines))


def check(
    answers: Answers, class_names: Sequence[str], data: configs.DataConfig
) -> None:
    """Check that decisions can be applied.

    Raises:
        ValueError: They name classes that the labeled source does not have, or
            the unlabeled source is not listed as a whole.
    """
    unknown = corrections.unknown_classes(answers.by_id.values(), class_names)
    if unknown:
        named = ", ".join(f"{name} ({n})" for name, n in unknown.items())
        raise ValueError(
            f"--data.corrections={data.corrections}: decisions are for classes "
            f"that {data.labeled} does not have: {named}. Its classes are "
            f"{', '.join(class_names[:20])}. Are they of another data set? Or "
            "give each new class a labeled image in the source."
        )
    if answers.by_id and data.unlabeled and data.unlabeled_by_file:
        raise ValueError(
            f"--data.corrections={data.corrections}: with "
            "--data.unlabeled_by_file no listing tells which file holds a "
            "corrected image. Leave one of the two out."
        )


def apply(
    assignment: splits.Assignment,
    unlabeled: Sequence[items.Item],
    answers: Answers,
    class_names: Sequence[str],
) -> tuple[splits.Assignment, list[items.Item], dict[str, Any]]:
    """Apply decisions to the images of the sources.

    Args:
        assignment: The labeled source, split.
        unlabeled: Images of a source of their own.
        answers: What people say.
        class_names: Of the labeled source.

    Returns:
        The assignment: training images with people's labels, and more of them,
        and the rest without images that people decided on.
        Images of `unlabeled` that became training images.
        What the manifest says of it.
    """
    counts = dict.fromkeys(
        ("same_label", "other_label", "none", "new", "held_out"), 0
    )
    train = _corrected(
        assignment.splits[splits.TRAIN], answers, class_names, counts
    )
    rest = [e for e in assignment.rest if e.image_id not in answers.by_id]
    decided = [e for e in assignment.rest if e.image_id in answers.by_id]
    train += _confirmed(decided, answers, class_names, counts)
    known = {e.image_id for e in _all(assignment)}
    sought = set(answers.by_id) - known
    others = [e for e in unlabeled if e.image_id in sought]
    confirmed = _confirmed(others, answers, class_names, counts)
    for split in (splits.VALIDATION, splits.TEST):
        counts["held_out"] += sum(
            item.image_id in answers.by_id
            and answers.label(item, class_names) != item.label
            for item in assignment.splits.get(split, ())
        )
    made = {**assignment.splits, splits.TRAIN: train}
    known |= {item.image_id for item in others}
    summary = {
        "num_decisions": len(answers.by_id),
        "num_disagreements": answers.num_disagreements,
        **{f"num_{name}": number for name, number in counts.items()},
        "unknown_ids": [e.hex() for e in answers.by_id if e not in known],
    }
    return splits.Assignment(made, rest), confirmed, summary


def _corrected(
    train: Sequence[items.Item],
    answers: Answers,
    class_names: Sequence[str],
    counts: dict[str, int],
) -> list[items.Item]:
    """Return training images with people's labels, and count them."""
    kept: list[items.Item] = []
    for item in train:
        if item.image_id not in answers.by_id:
            kept.append(item)
            continue
        label = answers.label(item, class_names)
        if label is None:
            counts["none"] += 1
            continue
        is_same = label == item.label
        counts["same_label" if is_same else "other_label"] += 1
        kept.append(dataclasses.replace(item, label=label))
    return kept


def _all(assignment: splits.Assignment) -> list[items.Item]:
    parts = [*assignment.splits.values(), assignment.rest]
    return [item for part in parts for item in part]


def _confirmed(
    found: Sequence[items.Item],
    answers: Answers,
    class_names: Sequence[str],
    counts: dict[str, int],
) -> list[items.Item]:
    """Return unlabeled images that have a class now, and count them."""
    labels = [answers.label(item, class_names) for item in found]
    counts["none"] += labels.count(None)
    counts["new"] += len(labels) - labels.count(None)
    return [
        dataclasses.replace(item, label=label)
        for item, label in zip(found, labels, strict=True)
        if label is not None
    ]


def tell(summary: Mapping[str, Any]) -> None:
    """Log what became of decisions, and what of them changed nothing."""
    logging.info(
        "Corrections: %(num_decisions)d images; %(num_new)d unlabeled ones are "
        "labeled now, %(num_other_label)d labels replaced, %(num_same_label)d "
        "confirmed, %(num_none)d images left out.",
        summary,
    )
    if summary["num_held_out"]:
        logging.warning(
            "Corrections: %d held-out images have another label by people. "
            "They keep theirs, since results are measured with it.",
            summary["num_held_out"],
        )
    if unknown := summary["unknown_ids"]:
        logging.warning(
            "Corrections: %d images are of no source of this run: %s.",
            len(unknown),
            ", ".join(unknown[:_NUM_NAMED]),
        )


def without_decided(
    listed: Sequence[items.Item], answers: Answers
) -> list[items.Item]:
    """Return the images that nobody decided on."""
    return [item for item in listed if item.image_id not in answers.by_id]
