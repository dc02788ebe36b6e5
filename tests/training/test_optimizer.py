import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.training import optimizer, state
from tests import strategies

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "rmsprop_and_ema.npz"


class OneWeight(keras.Model):
    def __init__(self, initial):
        super().__init__()
        self.weight = self.add_weight(
            shape=initial.shape, initializer="zeros", name="weight"
        )
        self.weight.assign(initial)


def test_rmsprop_and_averages_are_tensorflow_1s():
    golden = np.load(GOLDEN)
    model, averages = OneWeight(golden["initial"]), OneWeight(golden["initial"])
    rates = tf.constant(golden["learning_rates"])
    update_rule = optimizer.make_optimizer(
        configs.OptimizerConfig(), lambda step: rates[step]
    )
    update_rule.build(model.trainable_variables)

    @tf.function
    def update(gradient, step):
        update_rule.apply([gradient], model.trainable_variables)
        state.update_averages(averages, model, state.ramped_decay(0.9999, step))

    for step in range(12):
        update(tf.constant(golden["gradients"][step]), tf.constant(step))
        np.testing.assert_allclose(
            model.weight, golden["weights"][step], rtol=2e-6, atol=1e-7
        )
        np.testing.assert_allclose(
            averages.weight, golden["ema"][step], rtol=2e-6, atol=1e-7
        )


def test_sgd_has_plain_momentum():
    model = OneWeight(np.array([1.0]))
    update_rule = optimizer.make_optimizer(
        configs.OptimizerConfig(name="sgd", momentum=0.5),
        lambda step: tf.constant(0.1),
    )
    update_rule.build(model.trainable_variables)
    for _ in range(2):
        update_rule.apply([tf.constant([1.0])], model.trainable_variables)
    # Steps of 0.1 and of 0.1 + 0.5 * 0.1; Nesterov's would be 0.15, 0.175.
    assert float(model.weight[0]) == pytest.approx(1.0 - 0.1 - 0.15)


def test_ramp_ends_at_the_final_decay():
    decays = [float(state.ramped_decay(0.5, tf.constant(t))) for t in (0, 4, 9)]
    assert decays == pytest.approx([0.1, 5 / 14, 0.5])


def test_adamw_decays_by_rate_times_weight_decay():
    model = OneWeight(np.array([1.0, -2.0]))
    update_rule = optimizer.make_optimizer(
        configs.OptimizerConfig(name="adamw", weight_decay=0.5),
        lambda step: tf.constant(0.1),
    )
    update_rule.build(model.trainable_variables)
    update_rule.apply([tf.constant([3.0, 3.0])], model.trainable_variables)
    # 0.1 * 0.5 of the weight goes; the first step of Adam is the rate itself.
    expected = [1.0 - 0.05 - 0.1, -2.0 + 0.1 - 0.1]
    np.testing.assert_allclose(model.weight, expected, rtol=1e-5)


def test_lamb_steps_by_rate_times_the_weights_norm():
    model = OneWeight(np.array([3.0, 4.0]))
    update_rule = optimizer.make_optimizer(
        configs.OptimizerConfig(name="lamb", weight_decay=0.0),
        lambda step: tf.constant(0.1),
    )
    update_rule.build(model.trainable_variables)
    update_rule.apply([tf.constant([1.0, 1.0])], model.trainable_variables)
    # Adam's direction is (1, 1), of norm 2^0.5; the weights' norm is 5.
    share = 0.1 * 5 / 2**0.5
    np.testing.assert_allclose(
        model.weight, [3.0 - share, 4.0 - share], rtol=1e-4
    )


def test_decoupled_decay_spares_what_it_is_told_to():
    model, spared = OneWeight(np.array([1.0])), OneWeight(np.array([1.0]))
    variables = [model.weight, spared.weight]
    update_rule = optimizer.make_optimizer(
        configs.OptimizerConfig(name="adamw", weight_decay=0.5),
        lambda step: tf.constant(0.1),
        undecayed=[spared.weight],
    )
    update_rule.build(variables)

    @tf.function
    def update():
        update_rule.apply([tf.zeros([1]), tf.zeros([1])], variables)

    update()
    assert float(model.weight[0]) == pytest.approx(0.95)
    assert float(spared.weight[0]) == 1.0


def test_clipping_limits_the_summed_gradient():
    strategy = strategies.mirrored(2)

    @tf.function
    def clipped():
        def part():
            context = tf.distribute.get_replica_context()
            sign = 1.0 - 2.0 * tf.cast(
                context.replica_id_in_sync_group, tf.float32
            )
            # The parts' sum is [6, 8], of norm 10; the 100s cancel.
            gradient = tf.constant([3.0, 4.0]) + 100.0 * sign
            return optimizer.clip_across_replicas([gradient], 5.0)[0]

        return strategy.reduce("sum", strategy.run(part), axis=None)

    np.testing.assert_allclose(clipped(), [3.0, 4.0], rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw", "lamb"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_each_variable_steps_by_its_share_of_the_rate(name, momentum):
    def first_step(shares):
        model = OneWeight(np.array([1.0, 1.0]))
        other = model.add_weight(shape=(2,), initializer="ones", name="other")
        update_rule = optimizer.make_optimizer(
            configs.OptimizerConfig(
                name=name, momentum=momentum, weight_decay=0.0
            ),
            lambda step: tf.constant(0.1),
            shares=shares,
        )
        variables = [model.weight, other]
        update_rule.build(variables)
        update_rule.apply([tf.constant([1.0, 2.0])] * 2, variables)
        return [1.0 - variable.numpy() for variable in variables]

    whole, _ = first_step(())
    first, second = first_step((1.0, 0.25))
    np.testing.assert_allclose(first, whole, rtol=1e-6)
    np.testing.assert_allclose(second, 0.25 * whole, rtol=1e-5)


RATES = pathlib.Path(__file__).parents[1] / "golden" / "learning_rate.json"
CASES = json.loads(RATES.read_text())


def make_schedule(
    *, batch_size=512, steps_per_epoch=10.0, total_steps=200, **options
):
    training = configs.TrainingConfig(labeled_batch_size=batch_size)
    config = configs.Config(
        optimizer=configs.OptimizerConfig(**options), training=training
    )
    return optimizer.learning_rate(
        config, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )


@pytest.mark.parametrize("case", CASES)
def test_exponential_schedule_is_the_published_one(case):
    settings = json.loads(case)
    schedule = make_schedule(
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
    schedule = make_schedule(
        schedule="cosine", warmup_epochs=0.0, base_learning_rate=0.1
    )
    assert float(schedule(tf.constant(0))) == pytest.approx(0.2)
    assert float(schedule(tf.constant(100))) == pytest.approx(0.1)
    assert float(schedule(tf.constant(200))) == pytest.approx(0.0, abs=1e-7)


def test_constant_keeps_the_rate_after_the_warmup():
    schedule = make_schedule(
        schedule="constant", warmup_epochs=1.0, base_learning_rate=0.1
    )
    rates = [float(schedule(tf.constant(step))) for step in (0, 5, 10, 199)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.2])


def test_warmup_takes_its_share_of_a_short_training():
    schedule = make_schedule(
        schedule="constant",
        base_learning_rate=0.256,
        batch_size=256,
        warmup_epochs=0.5,
        warmup_share=0.1,
    )
    # A tenth of 200 steps, where half an epoch is 5.
    rates = [float(schedule(tf.constant(step))) for step in (10, 20, 30)]
    assert rates == pytest.approx([0.128, 0.256, 0.256])
