"""Checks of a labeled source's classes, and of the held-out source's."""

from collections.abc import Sequence

from noisy_student_tf import configs


def check_num_classes(
    class_names: Sequence[str], data: configs.DataConfig
) -> None:
    """Check the labeled source's classes against the configuration.

    Raises:
        ValueError: There are fewer than two, or not `data.num_classes`.
    """
    num_classes = len(class_names)
    if num_classes < 2:
        raise ValueError(
            f"{data.labeled}: a labeled source needs at least 2 classes; this "
            f"one has {list(class_names)}. Of csv:, wds: and parquet: the "
            "column or key of the labels is chosen by #label=NAME."
        )
    if data.num_classes not in (0, num_classes):
        raise ValueError(
            f"{data.labeled}: the source has {num_classes} classes "
            f"({', '.join(class_names[:10])}"
            f"{', ...' if num_classes > 10 else ''}), but --data.num_classes="
            f"{data.num_classes}. Correct the flag, or the source."
        )


def check_counts(
    specification: str, class_names: Sequence[str], counts: Sequence[int]
) -> None:
    """Check that every class has an image.

    Raises:
        ValueError: Some have none.
    """
    empty = [
        name
        for name, count in zip(class_names, counts, strict=True)
        if not count
    ]
    if empty:
        raise ValueError(
            f"{specification}: there is no usable image of class "
            f"{', '.join(map(repr, empty))}. Add images, or remove the class."
        )


def check_same_classes(
    data: configs.DataConfig,
    class_names: Sequence[str],
    held_out_class_names: Sequence[str],
) -> None:
    """Check that the held-out source has the labeled source's classes.

    Raises:
        ValueError: It has others.
    """
    if tuple(class_names) == tuple(held_out_class_names):
        return
    missing = sorted(set(class_names) - set(held_out_class_names))
    unknown = sorted(set(held_out_class_names) - set(class_names))
    raise ValueError(
        f"--data.evaluation={data.evaluation}: its classes are not those of "
        f"--data.labeled={data.labeled}. Missing: {missing}; unknown: "
        f"{unknown}. Classes that the held-out images lack may be missing "
        "there; all others need the names of labeled ones."
    )
