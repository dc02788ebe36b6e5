"""From a model directory of ours to files that timm and Keras load."""

import numpy as np

from noisy_student_tf import files
from noisy_student_tf.model import efficientnet_variants, saved, specs
from noisy_student_tf.weights import (
    compare,
    formats,
    keras_files,
    names,
    timm_files,
    weight_file,
)

_TIMM = ".safetensors"
_SUFFIXES = (_TIMM, ".weights.h5", ".h5")


def export_weights(
    directory: str, output: str, *, weights: saved.Weights = "ema"
) -> str:
    """Write a model's weights in another library's format, and check them.

    Args:
        directory: A trained or imported model.
        output: `.safetensors` for timm, `.weights.h5` for Keras 3, `.h5` for
            Keras 2; must not exist.
        weights: The averages, or what the optimizer left.

    Returns:
        What was written, in text.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: The output exists, has another suffix, or did not read
            back equal.
    """
    if not output.endswith(_SUFFIXES):
        raise ValueError(
            f"--output={output}: accepted are names that end in "
            f"{', '.join(_SUFFIXES)}: timm, Keras 3, Keras 2."
        )
    if files.exists(output):
        raise ValueError(f"--output={output} exists. Remove it, or rename.")
    model, spec = saved.load(directory, weights=weights)
    naming = names.TIMM if output.endswith(_TIMM) else names.KERAS
    blocks = efficientnet_variants.blocks(spec)
    arrays = {
        naming.name(variable.path, blocks): naming.to_file(
            variable.path, variable.numpy()
        )
        for variable in model.variables
    }
    _write(output, arrays, spec)
    lines = [
        f"{output}: {compare.describe_body(spec)}, {spec.num_classes} classes, "
        f"{len(arrays)} variables, read back equal"
    ]
    if spec.small_image_strides:
        lines.append(
            "The strides are small images': the other library's models have "
            "ImageNet's, and would give other logits."
        )
    return "\n".join(lines)


def _write(
    output: str, arrays: dict[str, np.ndarray], spec: specs.ModelSpec
) -> None:
    """Write arrays and compare them with what is read back, bit for bit."""
    try:
        if output.endswith(_TIMM):
            timm_files.write(
                output, arrays, spec_text=weight_file.spec_to_text(spec)
            )
        else:
            keras_files.write(output, arrays, spec)
        file = formats.open_file(output)
        for name, array in arrays.items():
            if not np.array_equal(file.read(name), array):
                raise ValueError(
                    f"{output}: {name} did not read back equal. Nothing is "
                    "kept; check the disk and repeat."
                )
    except BaseException:
        files.remove(output)
        raise
