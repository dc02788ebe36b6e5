"""Whether served pictures differ from those that a model was measured on.

Compared is what the model says: which classes, how confidently, and with which
energy. No true class of a served picture is known, so that nothing here is an
accuracy: a change says that the measured one may not hold any more.

Means are compared by a bootstrap of both sides. The mix of classes is compared
as a whole, by the total variation between both: half the sum of the shares'
absolute differences, beside what it is when both are drawn from one mix. Of
the three comparisons one is wrongly shown in 5 % of all cases, at most.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

_SEED = 0
_NUM_RESAMPLES = 2_000
_RESAMPLES_AT_ONCE = 50
# Of a side, whose mean is resampled: more make no interval wider.
_MAX_IMAGES = 20_000
# Below it a resample says nothing of the next picture.
MIN_IMAGES = 30
_COMPARISONS = ("confidence, mean", "energy, mean")
_MIX = "classes, total variation"
# Of one comparison, so that all three are right together in 95 %.
_LEVEL = 1 - 0.05 / (len(_COMPARISONS) + 1)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of some pictures.

    Attributes:
        classes: int [num_images] in [0, num_classes).
        confidences: float [num_images] in [0, 1].
        energies: float [num_images].
    """

    classes: np.ndarray
    confidences: np.ndarray
    energies: np.ndarray


def of_logits(logits: np.ndarray) -> Predictions:
    """Return what a model says: float32 [num_images, num_classes]."""
    probabilities = special.softmax(logits, axis=1)
    return Predictions(
        classes=probabilities.argmax(axis=1),
        confidences=probabilities.max(axis=1),
        energies=-special.logsumexp(logits, axis=1),
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return several predictions as one."""
    return Predictions(
        classes=np.concatenate([each.classes for each in parts]),
        confidences=np.concatenate([each.confidences for each in parts]),
        energies=np.concatenate([each.energies for each in parts]),
    )


@dataclasses.dataclass(frozen=True)
class Change:
    """A number of both sides.

    Attributes:
        name: What it is.
        reference: Of the pictures that were measured.
        served: Of those that were served.
        interval: Low and high, of the difference. Of the mix of classes: of
            the total variation where nothing has changed.
        is_shown: The difference is more than chance.
    """

    name: str
    reference: float
    served: float
    interval: tuple[float, float]
    is_shown: bool

    @property
    def difference(self) -> float:
        """Served minus reference."""
        return self.served - self.reference


@dataclasses.dataclass(frozen=True)
class Drift:
    """What was compared.

    Attributes:
        num_reference: Pictures.
        num_served: Likewise.
        changes: Mean confidence, mean energy, and the mix of classes.
        classes: The share of each class, those that differ most first; each
            interval is of 95 % by itself, and shown only if the mix as a whole
            has changed.
    """

    num_reference: int
    num_served: int
    changes: tuple[Change, ...]
    classes: tuple[Change, ...]

    @property
    def shown(self) -> list[str]:
        """Names of what has changed."""
        return [each.name for each in self.changes if each.is_shown]


def compare(
    served: Predictions, reference: Predictions, class_names: Sequence[str]
) -> Drift:
    """Compare served pictures with those that a model was measured on.

    Args:
        served: Of the same model as the reference.
        reference: Of held-out pictures.
        class_names: One a class.

    Raises:
        ValueError: There are too few pictures to compare.
    """
    counts = len(served.classes), len(reference.classes)
    if min(counts) < MIN_IMAGES:
        raise ValueError(
            f"{counts[0]} served and {counts[1]} held-out pictures: of fewer "
            f"than {MIN_IMAGES} no change can be told from chance. Wait for "
            "more."
        )
    random = np.random.default_rng(_SEED)
    pairs = (
        (reference.confidences, served.confidences),
        (reference.energies, served.energies),
    )
    means = [
        _compare_means(name, *pair, random)
        for name, pair in zip(_COMPARISONS, pairs, strict=True)
    ]
    before, after = (
        np.bincount(each.classes, minlength=len(class_names))
        for each in (reference, served)
    )
    mix = _compare_mixes(before, after, random)
    classes = _compare_shares(
        before, after, class_names, random, may_show=mix.is_shown
    )
    return Drift(counts[1], counts[0], (*means, mix), tuple(classes))


def _compare_means(
    name: str,
    reference: np.ndarray,
    served: np.ndarray,
    random: np.random.Generator,
) -> Change:
    drawn = _resampled_means(served, random)
    drawn -= _resampled_means(reference, random)
    low, high = _quantiles(drawn, _LEVEL)
    return Change(
        name=name,
        reference=float(reference.mean(dtype=np.float64)),
        served=float(served.mean(dtype=np.float64)),
        interval=(low, high),
        is_shown=low > 0 or high < 0,
    )


def _resampled_means(
    values: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return means of resamples, float64 [_NUM_RESAMPLES]."""
    values = values.astype(np.float64)
    if len(values) > _MAX_IMAGES:
        values = random.choice(values, _MAX_IMAGES, replace=False)
    means = [
        random.choice(values, (_RESAMPLES_AT_ONCE, len(values))).mean(axis=1)
        for _ in range(_NUM_RESAMPLES // _RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(means)


def _compare_mixes(
    reference: np.ndarray, served: np.ndarray, random: np.random.Generator
) -> Change:
    """Compare numbers of pictures a class: int [num_classes] each."""
    sizes = reference.sum(), served.sum()
    pooled = (reference + served) / sum(sizes)
    drawn = [
        random.multinomial(size, pooled, size=_NUM_RESAMPLES) / size
        for size in sizes
    ]
    by_chance = np.abs(drawn[0] - drawn[1]).sum(axis=1) / 2
    found = np.abs(reference / sizes[0] - served / sizes[1]).sum() / 2
    limit = float(np.quantile(by_chance, _LEVEL))
    return Change(_MIX, 0.0, float(found), (0.0, limit), bool(found > limit))


def _compare_shares(
    reference: np.ndarray,
    served: np.ndarray,
    class_names: Sequence[str],
    random: np.random.Generator,
    *,
    may_show: bool,
) -> list[Change]:
    changes = []
    sizes = reference.sum(), served.sum()
    shares = zip(reference / sizes[0], served / sizes[1], strict=True)
    for name, (before, after) in zip(class_names, shares, strict=True):
        drawn = random.binomial(sizes[1], after, _NUM_RESAMPLES) / sizes[1]
        drawn -= random.binomial(sizes[0], before, _NUM_RESAMPLES) / sizes[0]
        low, high = _quantiles(drawn, 0.95)
        is_shown = may_show and (low > 0 or high < 0)
        change = Change(
            name, float(before), float(after), (low, high), is_shown
        )
        changes.append(change)
    return sorted(changes, key=lambda each: -abs(each.difference))


def _quantiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return float(low), float(high)
