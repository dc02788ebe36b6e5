"""A model in a table: its stages, and what it costs."""

from noisy_student_tf.model import cost, efficientnet, specs

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


def describe(spec: specs.ModelSpec, *, bytes_per_number: int = 4) -> str:
    """Return a model's stages and costs as text; nothing is built.

    Args:
        spec: The architecture, its resolution and its number of classes.
        bytes_per_number: Of activations: 4 in float32, 2 in bfloat16.
    """
    rows = [_HEADINGS]
    groups = _groups(spec)
    for title, parts in groups:
        megabytes = sum(part.kept for part in parts) * bytes_per_number / 1e6
        is_stage = title.startswith("stage")
        rows.append(
            (
                title,
                str(len(parts)) if is_stage else "",
                str(parts[0].kernel_size),
                str(parts[0].strides),
                f"{parts[-1].channels:,}",
                f"{parts[-1].side}",
                f"{sum(part.parameters for part in parts):,}",
                f"{sum(part.multiply_adds for part in parts):,}",
                f"{megabytes:,.1f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        row[0].ljust(widths[0])
        + "".join(
            f"  {value:>{width}}"
            for value, width in zip(row[1:], widths[1:], strict=True)
        )
        for row in rows
    ]
    parts = [part for _, members in groups for part in members]
    kept, kept_again = (
        cost.kept_numbers(spec, recompute=recompute) * bytes_per_number
        for recompute in (False, True)
    )
    num_parameters = sum(part.parameters for part in parts)
    return "\n".join(
        [
            f"{spec.name}: width {spec.width:g}, depth {spec.depth:g}, "
            f"{spec.resolution} pixels, {spec.num_classes} classes, dropout "
            f"{spec.dropout_rate:g}",
            *table,
            f"parameters: {num_parameters:,} trainable "
            f"({num_parameters * 4 / 1e9:,.3f} GB in float32)",
            "multiply-adds of one image: "
            f"{sum(part.multiply_adds for part in parts) / 1e9:,.3f} G",
            "activations kept for one image's gradient: "
            f"{kept / 1e6:,.1f} MB, with recomputation of blocks "
            f"{kept_again / 1e6:,.1f} MB ({kept / kept_again:.1f} times less)",
        ]
    )


def _groups(spec: specs.ModelSpec) -> list[tuple[str, list[cost.Part]]]:
    """Return the model's parts under their titles, blocks by stages."""
    stem, *rest = cost.parts(spec)
    groups = [("stem", [stem])]
    for stage, repeats in enumerate(efficientnet.stage_repeats(spec.depth)):
        groups.append((f"stage {stage + 1}", rest[:repeats]))
        rest = rest[repeats:]
    last, classifier = rest
    return [*groups, ("head", [last]), ("classifier", [classifier])]
