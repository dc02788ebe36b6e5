"""Make a model directory from published weights.

Reads a TensorFlow 1 checkpoint of tensorflow/tpu's or the authors' code, an
HDF5 file of Keras 2 or 3, or a `.safetensors` or `.pth` file of timm; writes
`model.json`, two sets of weights and `manifest.json` to `--output`, and prints
what was found and what was assumed. docs/weights.md names the files.

    python -m run_scripts.import_weights \\
        --source=noisy_student_efficientnet-b0 --output=runs/weights/b0
"""

from typing import Any

from absl import flags

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree
from noisy_student_tf.model import architectures
from noisy_student_tf.weights import read_foreign, weight_file
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define what is read, where to, and what the file does not tell."""
    config_tree.DEFINE_path(
        "source", None, "A file, a checkpoint's prefix, or a directory of one."
    )
    config_tree.DEFINE_path(
        "output", None, "Model directory; missing or empty."
    )
    flags.DEFINE_boolean(
        "use_raw_variables",
        False,
        "Of a checkpoint, what the optimizer left, not its moving averages.",
    )
    flags.DEFINE_string(
        "scope", "", "Of the model in a checkpoint that holds several."
    )
    flags.DEFINE_enum(
        "model",
        None,
        list(architectures.VARIANTS),
        "Variant that the file must hold. Missing: found from the shapes.",
    )
    flags.DEFINE_integer(
        "resolution", None, "Side of the test images in pixels.", lower_bound=8
    )
    flags.DEFINE_boolean(
        "small_image_strides",
        None,
        "Stages 2 and 3 at stride 1, as published for SVHN.",
    )
    flags.DEFINE_list("mean_rgb", None, "Subtracted from images in [0, 255].")
    flags.DEFINE_list("std_rgb", None, "Divides images in [0, 255].")
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Another number than the file's makes a fresh classifier.",
        lower_bound=1,
    )
    config_tree.DEFINE_path(
        "class_names_file", None, "One class's name a line."
    )
    flags.DEFINE_enum(
        "head_initializer",
        "published",
        architectures.INITIALIZERS,
        "Of a fresh classifier.",
    )
    flags.DEFINE_integer("seed", 0, "Of a fresh classifier.", lower_bound=0)


def options_from_flags() -> read_foreign.Options:
    """Return what the flags say about the import.

    Raises:
        ValueError: A value is not accepted.
    """
    values = flags.FLAGS
    class_names: tuple[str, ...] | None = None
    if values.class_names_file:
        lines = files.read_text(values.class_names_file).splitlines()
        class_names = tuple(line.strip() for line in lines if line.strip())
    request = weight_file.Hints(
        name=values.model,
        resolution=values.resolution,
        small_image_strides=values.small_image_strides,
        mean_rgb=_three_numbers("mean_rgb"),
        std_rgb=_three_numbers("std_rgb"),
        class_names=class_names,
    )
    return read_foreign.Options(
        request=request,
        use_raw_variables=values.use_raw_variables,
        scope=values.scope,
        num_classes=values.num_classes,
        head_initializer=values.head_initializer,
        seed=values.seed,
    )


def _three_numbers(name: str) -> tuple[Any, ...] | None:
    """Return a flag's three numbers, or None without the flag."""
    parts = flags.FLAGS[name].value
    if not parts:
        return None
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or (name == "std_rgb" and min(numbers) <= 0):
        raise ValueError(
            f"--{name}={','.join(parts)}: accepted are three numbers for "
            "images in [0, 255], such as "
            f"--{name}=127.5,127.5,127.5."
        )
    return numbers


def main(_: list[str]) -> None:
    """Import, and print what was found."""
    for name in ("source", "output"):
        if not flags.FLAGS[name].value:
            raise ValueError(f"--{name} is missing; --help describes it.")
    text = read_foreign.import_weights(
        flags.FLAGS.source, flags.FLAGS.output, options_from_flags()
    )
    print(text)


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
