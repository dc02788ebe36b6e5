"""What an import found, assumed and wrote, in text."""

from noisy_student_tf.model import specs
from noisy_student_tf.weights import compare, detect, weight_file


def describe_import(
    *,
    file: weight_file.WeightFile,
    found: detect.Detected,
    spec: specs.ModelSpec,
    keeps_head: bool,
    has_raw: bool,
    num_compared: int,
    num_parameters: int,
    directory: str,
) -> str:
    """Return a table: property, value, and how it is known.

    Args:
        file: What was read.
        found: What it holds.
        spec: What was written.
        keeps_head: Whether the classifier is the file's.
        has_raw: Whether raw variables differ from the averages.
        num_compared: Variables that survived the way there and back.
        num_parameters: Trainable ones.
        directory: Where it was written.
    """
    origins = found.origins
    held = f"{found.spec.num_classes} classes in the file"
    rows = [
        ("format", file.format, "from the content"),
        ("variant", compare.describe_body(spec), origins["variant"]),
        (
            "classes",
            str(spec.num_classes),
            "the file's classifier"
            if keeps_head
            else "a fresh classifier; "
            + (held if found.has_classifier else "none in the file"),
        ),
        ("strides", _strides(spec), origins["strides"]),
        ("resolution", f"{spec.resolution} pixels", origins["resolution"]),
        ("crop", describe_crop(spec), "published, with these strides"),
        ("mean", _numbers(spec.mean_rgb), origins["mean"]),
        ("std", _numbers(spec.std_rgb), origins["std"]),
        ("parameters", f"{num_parameters:,}", "trainable"),
        (
            "ema.weights.h5",
            f"{num_compared} variables",
            "equal to the file's when turned back",
        ),
        (
            "raw.weights.h5",
            f"{num_compared} variables",
            "the checkpoint's raw ones, equal too"
            if has_raw
            else "the same weights",
        ),
    ]
    width = max(len(value) for _, value, _ in rows) + 2
    lines = [
        f"{title:<16}{value:<{width}}({how})" for title, value, how in rows
    ]
    return "\n".join([*lines, f"{'written to':<16}{directory}"])


def describe_crop(spec: specs.ModelSpec) -> str:
    """Return which part of a picture the model is shown, in words."""
    if spec.small_image_strides:
        return "whole picture"
    share = spec.resolution / (spec.resolution + 32)
    return f"center, {share:.3f} of the short side"


def _strides(spec: specs.ModelSpec) -> str:
    if spec.small_image_strides:
        return "small images' (SVHN)"
    return "ImageNet's"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
