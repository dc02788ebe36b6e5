"""From a model directory of ours to files that others' libraries load."""

from typing import Literal

import numpy as np

from noisy_student_tf import files
from noisy_student_tf.model import efficientnet_variants, saved, specs
from noisy_student_tf.weights import (
    compare,
    formats,
    keras_files,
    names,
    pytorch_files,
    weight_file,
)

_PYTORCH = ".safetensors"
_SUFFIXES = (_PYTORCH, ".weights.h5", ".h5")
_NAMINGS = {
    "timm": names.TIMM,
    "efficientnet_pytorch": names.EFFICIENTNET_PYTORCH,
}

Library = Literal["timm", "efficientnet_pytorch"]


def export_weights(
    directory: str,
    output: str,
    *,
    weights: saved.Weights = "ema",
    library: Library = "timm",
) -> str:
    """Write a model's weights in another library's format, and check them.

    Args:
        directory: A trained or imported model.
        output: `.safetensors` for PyTorch, `.weights.h5` for Keras 3, `.h5`
            for Keras 2; must not exist.
        weights: The averages, or what the optimizer left.
        library: Of PyTorch, whose names `.safetensors` has.

    Returns:
        What was written, in text.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: The output exists, has another suffix, is of a library
            without such a model, or did not read back equal.
    """
    _check_free(output)
    model, spec = saved.load(directory, weights=weights)
    naming = _naming(output, library, spec)
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


def _check_free(output: str) -> None:
    if not output.endswith(_SUFFIXES):
        raise ValueError(
            f"--output={output}: accepted are names that end in "
            f"{', '.join(_SUFFIXES)}: PyTorch, Keras 3, Keras 2."
        )
    if files.exists(output):
        raise ValueError(f"--output={output} exists. Remove it, or rename.")


def _naming(
    output: str, library: Library, spec: specs.ModelSpec
) -> names.Naming:
    if output.endswith(_PYTORCH):
        return _NAMINGS[library]
    if not efficientnet_variants.design_of(spec).squeeze_excite_ratio:
        raise ValueError(
            f"--output={output}: keras.applications has no {spec.name}. Write "
            "a .safetensors file, for timm or efficientnet_pytorch."
        )
    return names.KERAS


def _write(
    output: str, arrays: dict[str, np.ndarray], spec: specs.ModelSpec
) -> None:
    """Write arrays and compare them with what is read back, bit for bit."""
    try:
        if output.endswith(_PYTORCH):
            pytorch_files.write(
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
