"""The training loop: builds what a run needs, and makes its steps."""

from collections.abc import Sequence

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.devices import replica_stream
from noisy_student_tf.training import engine, reporter, state
from noisy_student_tf.training import (
    plan as plan_lib,
)


def train(
    *,
    config: configs.Config,
    plan: plan_lib.Plan,
    directory: str,
    strategy: tf.distribute.Strategy,
    models: state.ModelSource,
    make_stream: replica_stream.MakeStream,
    evaluate: reporter.Evaluate,
    title: str,
    class_names: Sequence[str] = (),
    profile_steps: tuple[int, int] | None = None,
) -> engine.TrainResult:
    """Train a model, or go on where a killed run left its checkpoints.

    Writes `metrics.jsonl`, `tensorboard/` and `checkpoints/`. Killed and
    started again it ends as if it had never been killed. Of several workers
    each reads its share of the batches, and the chief alone writes.

    Args:
        config: Seed, optimizer, losses and checkpoints to keep.
        plan: Batches and durations.
        directory: Of this model; created if missing.
        strategy: Whose replicas share each global batch.
        models: How they are made.
        make_stream: start_step -> infinite dataset of global batches (see
            `step.compute_gradients`) from that step on.
        evaluate: Model -> metrics on the validation images.
        title: The run's name; initial weights and noise depend on it.
        class_names: Shown with the first images.
        profile_steps: Between which steps TensorFlow is profiled.

    Raises:
        ValueError: Batches that the replicas cannot share, a model that
            cannot be trained exactly, or a checkpoint of another model.
        FloatingPointError: A loss ceased to be finite, once more than the
            run may go back.
        OSError: A checkpoint could not be written; those before it are kept.
        SystemExit: SIGTERM came; the state is saved, and the code is
            `preemption.EXIT_CODE`.
    """
    replica_stream.check_batch_divides(
        labeled_batch_size=plan.labeled_batch_size,
        unlabeled_batch_size=plan.unlabeled_batch_size,
        num_replicas=strategy.num_replicas_in_sync,
        accumulation_steps=config.training.accumulation_steps,
    )
    train_state = state.create(
        settings=config.optimizer,
        seed=state.seed_of(config.seed, title),
        strategy=strategy,
        source=models,
        schedule=plan_lib.make_schedule(plan, config),
    )
    run = engine.Run(
        config=config,
        plan=plan,
        directory=directory,
        strategy=strategy,
        train_state=train_state,
        make_stream=make_stream,
        evaluate=evaluate,
        title=title,
        class_names=class_names,
        profile_steps=profile_steps,
    )
    return run.to_the_end()
