"""Write the final model of a run as a SavedModel.

Reads the last model in `--workdir`, writes `export/saved_model/` there.

    python -m run_scripts.export --workdir=runs/digits
"""

from noisy_student_tf import stages
from noisy_student_tf.records import shards
from run_scripts import flags as config_flags
from run_scripts import stage


def define_flags() -> None:
    """Define the flags of this stage."""
    stage.define_flags()


def main(_: list[str]) -> None:
    """Export the final model."""
    run = stage.run_from_flags()
    stages.export(run)
    exported = shards.read_manifest(run.workdir.export)["model"]
    print(f"classifier: {run.workdir.saved_model} ({exported})")


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
