"""The page of what has changed while a model was served."""

from noisy_student_tf.evaluation import drift
from noisy_student_tf.report import pages

_NUM_CLASSES = 50


def verdict(found: drift.Drift) -> str:
    """Return in one sentence whether anything has changed."""
    if not found.shown:
        return (
            f"No change shown: {found.num_served:,} served pictures beside "
            f"{found.num_reference:,} held-out ones."
        )
    return (
        f"Changed, of {found.num_served:,} served pictures: "
        f"{'; '.join(found.shown)}."
    )


def render(found: drift.Drift, *, left_out: str = "") -> str:
    """Return the page.

    Args:
        found: What was compared.
        left_out: What is said of pictures that were not.
    """
    return pages.render(
        "drift.html",
        verdict=verdict(found),
        left_out=left_out,
        changes=found.changes,
        classes=found.classes[:_NUM_CLASSES],
        num_classes=len(found.classes),
    )
