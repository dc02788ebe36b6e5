"""Fine-tune the last student of a run at the higher resolution (FixRes).

Reads the last student in `--workdir` and writes `fixres/` there.

    python -m run_scripts.finetune_fixres --workdir=runs/digits
"""

from noisy_student_tf.stages import models, runs
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this stage."""
    config_flags.define_run_flags()


def main(_: list[str]) -> None:
    """Fine-tune the last student."""
    run = runs.start(*config_flags.run_settings())
    finetuned = run.recipe.finetuned
    if finetuned is None:
        raise ValueError(
            "--fixres.resolution=0: this run has no fine-tuning. Begin one "
            "with a resolution above --model.resolution="
            f"{run.config.model.resolution}."
        )
    models.make(run, finetuned)


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
