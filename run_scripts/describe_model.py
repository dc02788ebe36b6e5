"""Print a model's stages, parameters, multiply-adds and memory.

Computed from shapes: nothing is built, so that EfficientNet-L2 takes no
memory either.

    python -m run_scripts.describe_model --model=efficientnet-l2 \\
        --resolution=475
"""

from absl import flags

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, cost
from run_scripts import flags as config_flags

_BYTES = {"float32": 4, "mixed_bfloat16": 2}


def define_flags() -> None:
    """Define what is described."""
    flags.DEFINE_enum(
        "model", "efficientnet-b0", list(architectures.VARIANTS), "Variant."
    )
    flags.DEFINE_float(
        "width", 0.0, "Channel multiplier. 0: the variant's own."
    )
    flags.DEFINE_float("depth", 0.0, "Repeat multiplier. 0: the variant's own.")
    flags.DEFINE_integer(
        "resolution",
        0,
        "Side of the images in pixels. 0: the variant's own.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "num_classes", 1000, "Number of logits.", lower_bound=1
    )
    flags.DEFINE_boolean(
        "small_image_strides",
        False,
        "Stages 2 and 3 at stride 1, as published for SVHN.",
    )
    flags.DEFINE_enum(
        "precision", "float32", list(_BYTES), "Of the activations."
    )


def main(_: list[str]) -> None:
    """Print the description."""
    values = flags.FLAGS
    variant = architectures.find_variant(values.model)
    model = configs.ModelConfig(
        name=values.model,
        width=values.width,
        depth=values.depth,
        resolution=values.resolution or variant.resolution,
        small_image_strides=values.small_image_strides,
    )
    spec = architectures.make_spec(
        model, num_classes=values.num_classes, class_names=()
    )
    text = cost.describe(spec, bytes_per_number=_BYTES[values.precision])
    print(text)


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
