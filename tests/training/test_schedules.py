import dataclasses
import json
import pathlib

import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.training import schedules

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "learning_rate.json"
CASES = json.loads(GOLDEN.read_text())


def make(*, batch_size=512, steps_per_epoch=10.0, total_steps=200, **options):
    training = configs.TrainingConfig(labeled_batch_size=batch_size)
    config = configs.Config(
        optimizer=configs.OptimizerConfig(**options), training=training
    )
    durations = schedules.make_durations(
        config, num_labeled=batch_size, epochs=1.0, has_unlabeled=False
    )
    durations = dataclasses.replace(
        durations, steps_per_epoch=steps_per_epoch, total_steps=total_steps
    )
    return schedules.learning_rate(durations, config)


@pytest.mark.parametrize("case", CASES)
def test_exponential_schedule_is_the_published_one(case):
    settings = json.loads(case)
    schedule = make(
        batch_size=settings["batch"],
        steps_per_epoch=settings["images"] / settings["batch"],
        total_steps=218_949,
        base_learning_rate=settings["base"],
        decay_epochs=settings["decay_epochs"],
    )
    for step, rate in CASES[case]:
        assert float(schedule(tf.constant(step))) == pytest.approx(
            rate, rel=2e-6
        ), step


def test_cosine_falls_from_the_peak_to_zero():
    schedule = make(
        schedule="cosine", warmup_epochs=0.0, base_learning_rate=0.1
    )
    assert float(schedule(tf.constant(0))) == pytest.approx(0.2)
    assert float(schedule(tf.constant(100))) == pytest.approx(0.1)
    assert float(schedule(tf.constant(200))) == pytest.approx(0.0, abs=1e-7)


def test_constant_keeps_the_rate_after_the_warmup():
    schedule = make(
        schedule="constant", warmup_epochs=1.0, base_learning_rate=0.1
    )
    rates = [float(schedule(tf.constant(step))) for step in (0, 5, 10, 199)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.2])


def test_few_images_still_make_a_least_number_of_steps():
    training = configs.TrainingConfig(labeled_batch_size=16)
    config = configs.Config(training=training)
    few, many = (
        schedules.make_durations(
            config,
            num_labeled=num_labeled,
            epochs=4.0,
            has_unlabeled=False,
            min_steps=100,
        )
        for num_labeled in (80, 800)
    )
    # 4 epochs of 80 images are 20 steps, of 800 they are 200.
    assert (few.total_steps, many.total_steps) == (100, 200)


def test_warmup_takes_its_share_of_a_short_training():
    schedule = make(
        schedule="constant",
        base_learning_rate=0.256,
        batch_size=256,
        warmup_epochs=0.5,
        warmup_share=0.1,
    )
    # A tenth of 200 steps, where half an epoch is 5.
    rates = [float(schedule(tf.constant(step))) for step in (10, 20, 30)]
    assert rates == pytest.approx([0.128, 0.256, 0.256])
