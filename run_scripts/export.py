"""Write the final model of a run as a SavedModel, and in other formats.

Reads the last model in `--workdir`, writes `export/FORMAT/` there and prints
what each format's accuracy on held-out images is beside the checkpoint's.

    python -m run_scripts.export --workdir=runs/digits \
        --formats=saved_model,tflite_float16,tflite_int8,onnx
"""

from absl import flags

from noisy_student_tf.records import shards
from noisy_student_tf.stages import export, runs
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this stage."""
    config_flags.define_run_flags()
    flags.DEFINE_list(
        "formats",
        "saved_model",
        f"Some of {', '.join(export.FORMATS)}. All but the first need "
        "pip install -e '.[convert]'.",
    )


def main(_: list[str]) -> None:
    """Export the final model."""
    formats = export.check_formats(flags.FLAGS.formats)
    run = runs.start(*config_flags.run_settings())
    export.export(run)
    rows = [export.convert(run, name) for name in formats]
    print(export.format_table(rows))
    model = shards.read_manifest(run.workdir.export)["model"]
    print(f"classifier: {run.workdir.saved_model} ({model})")


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
