"""Numbers that ceased to be finite, and what a run does about them."""

import dataclasses

ADVICE = (
    "Lower --optimizer.base_learning_rate, set --optimizer.global_clip_norm, "
    "or let the run go back by --training.max_rollbacks."
)


class NotFiniteError(FloatingPointError):
    """A loss or a weight is not finite.

    Attributes:
        step: The first step known to be spoilt, counted from 1.
        is_seen_by_all: Whether every worker of the run has noticed.
    """

    def __init__(self, message: str, *, step: int, is_seen_by_all: bool):
        """Describe it; see the attributes."""
        super().__init__(message)
        self.step = step
        self.is_seen_by_all = is_seen_by_all


@dataclasses.dataclass(frozen=True)
class Detour:
    """Which batches a run has left out.

    Attributes:
        rollbacks: How often the run went back.
        skipped_batches: By how many batches the stream is ahead of the steps.
    """

    rollbacks: int = 0
    skipped_batches: int = 0

    def around(self, error: NotFiniteError, *, back_to: int) -> "Detour":
        """Return the detour behind the batches that led to an error.

        Args:
            error: What went wrong.
            back_to: Steps made in the checkpoint that was restored.
        """
        window = error.step - back_to
        return Detour(self.rollbacks + 1, self.skipped_batches + window)
