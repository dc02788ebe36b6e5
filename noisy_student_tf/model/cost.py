"""What a model costs, from its shapes alone: nothing is built.

With recomputation, only the inputs of blocks are kept for the backward pass.
"""

import itertools
from collections.abc import Iterator

from noisy_student_tf.model import architectures, specs

_HEADINGS = (
    "part",
    "blocks",
    "kernel",
    "stride",
    "channels",
    "pixels",
    "parameters",
    "multiply-adds",
    "kept, MB",
)


def multiply_adds(
    spec: specs.ModelSpec, resolution: int | None = None
) -> float:
    """Return the multiply-adds of classifying one image.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels; None: the spec's own.
    """
    parts = architectures.parts(spec, resolution)
    return sum(part.multiply_adds for part in parts)


def count_parameters(spec: specs.ModelSpec) -> int:
    """Return the number of trainable parameters."""
    return sum(part.parameters for part in architectures.parts(spec))


def kept_numbers(spec: specs.ModelSpec, *, recompute: bool = False) -> int:
    """Return how many numbers training keeps of one image.

    Args:
        spec: The architecture.
        recompute: Blocks keep their inputs alone; the largest of them is
            computed again when its turn comes.
    """
    parts = architectures.parts(spec)
    stem, *blocks, head, _ = parts
    if not recompute:
        return stem.inputs + sum(part.kept for part in parts)
    inputs = sum(part.inputs for part in (stem, *blocks, head))
    largest = max(part.kept for part in blocks)
    return inputs + stem.kept + head.kept + largest


def describe(spec: specs.ModelSpec, *, bytes_per_number: int = 4) -> str:
    """Return a model's stages and costs as text.

    Args:
        spec: The architecture, its resolution and its number of classes.
        bytes_per_number: Of activations: 4 in float32, 2 in bfloat16.
    """
    rows = [_HEADINGS, *_stage_rows(spec, bytes_per_number)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        row[0].ljust(widths[0])
        + "".join(
            f"  {value:>{width}}"
            for value, width in zip(row[1:], widths[1:], strict=True)
        )
        for row in rows
    ]
    kept, kept_again = (
        kept_numbers(spec, recompute=recompute) * bytes_per_number / 1e6
        for recompute in (False, True)
    )
    num_parameters = count_parameters(spec)
    return "\n".join(
        [
            f"{spec.name}: width {spec.width:g}, depth {spec.depth:g}, "
            f"{spec.resolution} pixels, {spec.num_classes} classes, dropout "
            f"{spec.dropout_rate:g}",
            *table,
            f"parameters: {num_parameters:,} trainable "
            f"({num_parameters * 4 / 1e9:,.3f} GB in float32)",
            f"multiply-adds of one image: {multiply_adds(spec) / 1e9:,.3f} G",
            "activations kept for one image's gradient: "
            f"{kept:,.1f} MB, with recomputation of blocks "
            f"{kept_again:,.1f} MB ({kept / kept_again:.1f} times less)",
        ]
    )


def _stage_rows(
    spec: specs.ModelSpec, bytes_per_number: int
) -> Iterator[tuple[str, ...]]:
    """Yield what stem, stages, head and classifier cost."""
    parts = architectures.parts(spec)
    for name, group in itertools.groupby(parts, lambda part: part.name):
        members = list(group)
        kept = sum(part.kept for part in members) * bytes_per_number / 1e6
        yield (
            name,
            str(len(members)) if name.startswith("stage") else "",
            str(members[0].kernel_size),
            str(members[0].strides),
            f"{members[-1].channels:,}",
            f"{members[-1].side}",
            f"{sum(part.parameters for part in members):,}",
            f"{sum(part.multiply_adds for part in members):,}",
            f"{kept:,.1f}",
        )
