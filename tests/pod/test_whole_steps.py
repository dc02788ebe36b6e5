"""What a core runs lowers to a static program of its own."""

import pytest
import tensorflow as tf

from noisy_student_tf.model import cost
from noisy_student_tf.planning import compute
from noisy_student_tf.training import step
from tests import strategies
from tests.pod import hlo, whole_steps

# Of the largest batch; more would be moved one by one.
MOST_GATHERED = 16 * whole_steps.NUM_CLASSES


def lower_step(name, config, *, has_mixed=False, **options):
    """Return a core's program of a step; parts are a loop of it."""
    strategy = strategies.mirrored(1)
    train_state = whole_steps.make_state(strategy, name, config, **options)
    replica = step.ReplicaStep(
        train_state, whole_steps.make_settings(config), is_tpu=True
    )
    stream = whole_steps.make_batches(
        config, has_twins=train_state.teacher is not None, has_mixed=has_mixed
    )
    make_step = (
        replica.compute_and_apply
        if replica.num_parts == 1
        else replica.accumulate_and_apply
    )
    return hlo.lower(
        lambda batch, number: strategy.run(make_step, args=(batch, number)),
        next(iter(stream)),
        tf.constant(7),
    )


def check(program):
    assert hlo.problems(program) == []
    assert hlo.largest(program, "gather") <= MOST_GATHERED


def test_the_step_of_b0_is_static_and_costs_what_is_planned():
    config = whole_steps.make_config()
    program = lower_step("efficientnet-b0", config)
    check(program)
    forward = cost.multiply_adds(whole_steps.make_spec("efficientnet-b0"))
    # The images' own gradient is not asked for.
    assert hlo.multiply_adds(program) == pytest.approx(
        compute.TRAINING_PASSES * 16 * forward, rel=0.05
    )
