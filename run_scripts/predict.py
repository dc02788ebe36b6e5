"""Let a teacher label the clean unlabeled images for one student of a run.

Reads `unlabeled/` and the teacher in `--workdir`, writes `predictions_N/`.
Several machines share the shards by `--shard_index` of
`--num_shard_workers`.

    python -m run_scripts.predict --workdir=runs/digits --iteration=1
"""

from absl import flags

from noisy_student_tf.stages import labels, runs
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this stage."""
    config_flags.define_run_flags()
    config_flags.define_iteration_flag(
        "The student that will learn from the predictions."
    )
    flags.DEFINE_integer("shard_index", 0, "This worker.", lower_bound=0)
    flags.DEFINE_integer(
        "num_shard_workers", 1, "Workers that share the shards.", lower_bound=1
    )


def main(_: list[str]) -> None:
    """Predict this worker's shards."""
    run = runs.start(*config_flags.run_settings())
    labels.predict(
        run,
        run.recipe.labeling(flags.FLAGS.iteration),
        shard_index=flags.FLAGS.shard_index,
        num_shard_workers=flags.FLAGS.num_shard_workers,
    )


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
