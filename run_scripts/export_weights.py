"""Write a model's weights as a file that other libraries load.

Reads a trained or imported model directory. The suffix of `--output` decides:
`.safetensors` is for PyTorch, by the names of `--library`; `.weights.h5` is
Keras 3's and `.h5` Keras 2's, both for keras.applications.

    python -m run_scripts.export_weights \\
        --source=runs/digits/student_2 --output=student.safetensors
"""

from absl import flags

from noisy_student_tf.configs import config_tree
from noisy_student_tf.weights import write_foreign
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define what is read and what is written."""
    config_tree.DEFINE_path("source", None, "Directory of a model.")
    config_tree.DEFINE_path(
        "output", None, "File that ends in .safetensors, .weights.h5 or .h5."
    )
    flags.DEFINE_enum(
        "weights",
        "ema",
        ["ema", "raw"],
        "The averages, or what the optimizer left.",
    )
    flags.DEFINE_enum(
        "library",
        "timm",
        ["timm", "efficientnet_pytorch"],
        "Whose names a .safetensors file has.",
    )


def main(_: list[str]) -> None:
    """Export, and print what was written."""
    for name in ("source", "output"):
        if not flags.FLAGS[name].value:
            raise ValueError(f"--{name} is missing; --help describes it.")
    text = write_foreign.export_weights(
        flags.FLAGS.source,
        flags.FLAGS.output,
        weights=flags.FLAGS.weights,
        library=flags.FLAGS.library,
    )
    print(text)


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
