import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.devices import replicas
from noisy_student_tf.training import optimizer, state, step
from tests import strategies
from tests.training import tiny


def make_steps(
    num_replicas,
    *,
    num_steps=3,
    dropout_rate=0.0,
    normalized=True,
    **overrides,
):
    """Return the state and the metrics after some steps."""
    configuration = tiny.make_config(**overrides)
    made = tiny.make_durations(configuration)
    strategy = strategies.mirrored(num_replicas)
    train_state = state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategy,
        source=state.ModelSource(
            build=lambda: tiny.build(
                synchronized=num_replicas > 1,
                dropout_rate=dropout_rate,
                normalized=normalized,
            )
        ),
        schedule=made.learning_rate(configuration),
    )
    settings = make_settings(configuration, made)
    train_steps = step.make_train_steps(train_state, settings, strategy)
    stream = replicas.distribute(
        tiny.make_stream,
        start_step=0,
        strategy=strategy,
        labeled_batch_size=4,
        unlabeled_batch_size=8,
    )
    metrics, _ = train_steps(iter(stream), tf.constant(num_steps))
    return train_state, metrics.numpy()


def make_settings(configuration, made):
    return step.StepSettings(
        config=configuration,
        unlabeled_batch_size=made.unlabeled_batch_size,
        seed=5,
    )


# A larger epsilon: biases before a normalization have gradients of rounding
# errors alone, which Adam would scale up.
_ADAM = {"optimizer.base_learning_rate": 0.1, "optimizer.adam_epsilon": 0.01}


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        # Every gradient is clipped; clipping each replica's part before the
        # sum would give other weights.
        {
            "optimizer.global_clip_norm": 0.3,
            "optimizer.base_learning_rate": 8.0,
        },
        {"optimizer.name": "adamw", **_ADAM},
        {"optimizer.name": "lamb", **_ADAM},
    ],
)
def test_replicas_change_neither_losses_nor_weights(overrides):
    one, one_metrics = make_steps(1, **overrides)
    two, two_metrics = make_steps(2, **overrides)
    np.testing.assert_allclose(
        two_metrics, one_metrics, rtol=tiny.rounding_share(num_steps=3)
    )
    for models in ((one.model, two.model), (one.ema_model, two.ema_model)):
        for a, b in zip(*map(tiny.weights_of, models), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


# Clipping and weight decay see the whole batch too.
UNNORMALIZED = {"normalized": False, "optimizer.global_clip_norm": 0.5}


@pytest.fixture(scope="module")
def whole_batches():
    return make_steps(1, **UNNORMALIZED)


@pytest.mark.parametrize(
    ("num_replicas", "accumulation_steps"), [(1, 4), (2, 2)]
)
def test_accumulated_parts_are_the_large_batch(
    num_replicas, accumulation_steps, whole_batches
):
    whole, whole_metrics = whole_batches
    parts, parts_metrics = make_steps(
        num_replicas,
        **UNNORMALIZED,
        **{"training.accumulation_steps": accumulation_steps},
    )
    np.testing.assert_allclose(
        parts_metrics, whole_metrics, rtol=tiny.rounding_share(num_steps=3)
    )
    for models in (
        (whole.model, parts.model),
        (whole.ema_model, parts.ema_model),
    ):
        for a, b in zip(*map(tiny.weights_of, models), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    assert parts.step == 3


def test_each_part_moves_the_statistics():
    overrides = {"training.accumulation_steps": 2}
    made, _ = make_steps(1, num_steps=1, **overrides)
    untrained, _ = make_steps(1, num_steps=0, **overrides)
    batch = next(iter(tiny.make_stream(0)))
    average = 0.0
    for part in range(2):
        images = tf.concat(
            [
                batch["labeled_images"][2 * part :][:2],
                batch["unlabeled_images"][4 * part :][:4],
            ],
            axis=0,
        )
        maps = untrained.model.stem_conv(tf.cast(images, tf.float32) / 255)
        average = 0.9 * average + 0.1 * tf.reduce_mean(maps, axis=[0, 1, 2])
    np.testing.assert_allclose(
        made.model.stem_norm.moving_mean, average, rtol=1e-4, atol=1e-6
    )


def test_noise_differs_between_steps_and_replicas_and_repeats():
    def seed(*key):
        return tuple(step.noise_seed(*key).numpy())

    keys = [(s, t, r) for s in (0, 1) for t in (0, 1, 2) for r in (0, 1)]
    assert len({seed(*key) for key in keys}) == len(keys)
    assert seed(1, 2, 3) == seed(1, 2, 3)
    parts = {seed(1, 2, 3, part) for part in (None, 0, 1, 2)}
    assert len(parts) == 4


def test_replicas_draw_different_noise():
    drawn = []

    class Recorder(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(tiny.NUM_CLASSES)

        def call(self, images, training=False, noise_seed=None, noised=None):
            if noise_seed is not None:
                drawn.append(noise_seed)
            return self.dense(tf.cast(images[:, 0, 0], tf.float32))

    def build():
        model = Recorder()
        model(tf.zeros([1, tiny.SIDE, tiny.SIDE, 3]))
        return model

    strategy = strategies.mirrored(2)
    configuration = tiny.make_config()
    made = tiny.make_durations(configuration)
    train_state = state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategy,
        source=state.ModelSource(build=build),
        schedule=optimizer.constant(0.1),
    )
    settings = make_settings(configuration, made)
    make_step = step._step_maker(train_state, settings, strategy)
    batch = next(iter(tiny.make_stream(0, num_labeled=2, num_unlabeled=4)))

    @tf.function
    def seeds():
        make_step(batch, tf.constant(0))
        return tuple(drawn)

    first, second = seeds()
    assert tuple(first.numpy()) != tuple(second.numpy())


def test_averages_follow_batch_normalizations_statistics():
    made, _ = make_steps(1, num_steps=1)
    # The first decay is 1/10: 0.1 * the initial 0 + 0.9 * the mean of now.
    mean = np.array(made.model.stem_norm.moving_mean)
    average = np.array(made.ema_model.stem_norm.moving_mean)
    assert np.abs(mean).max() > 0
    np.testing.assert_allclose(average, 0.9 * mean, rtol=1e-6)


def test_weight_decay_enters_through_the_gradient():
    configuration = tiny.make_config(**{"optimizer.weight_decay": 0.5})
    without = tiny.make_config(**{"optimizer.weight_decay": 0.0})
    made = tiny.make_durations(configuration)
    train_state = state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategies.mirrored(1),
        source=state.ModelSource(build=tiny.build),
        schedule=optimizer.constant(0.1),
    )
    batch = next(iter(tiny.make_stream(0)))
    seed = tf.constant([1, 2])
    decayed, plain = (
        step.compute_gradients(
            train_state, make_settings(c, made), batch, seed
        )[0]
        for c in (configuration, without)
    )
    spared = 0
    ids = {id(variable) for variable in train_state.decayed}
    for variable, a, b in zip(train_state.trained, decayed, plain, strict=True):
        share = 0.5 * np.array(variable) if id(variable) in ids else 0.0
        spared += id(variable) not in ids
        np.testing.assert_allclose(a, b + share, atol=1e-5)
    assert spared == 8


def test_gradients_compile_under_xla_with_static_shapes():
    configuration = tiny.make_config()
    made = tiny.make_durations(configuration)
    train_state = state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategies.mirrored(1),
        source=state.ModelSource(build=lambda: tiny.build(dropout_rate=0.5)),
        schedule=optimizer.constant(0.1),
    )
    settings = make_settings(configuration, made)

    @tf.function(jit_compile=True)
    def compiled(batch):
        seed = step.noise_seed(5, tf.constant(7), tf.constant(0))
        return step.compute_gradients(train_state, settings, batch, seed)

    gradients, metrics = compiled(next(iter(tiny.make_stream(0))))
    assert len(gradients) == len(train_state.trained)
    assert np.isfinite(metrics).all()


def test_adamw_decays_outside_the_loss():
    settings = {"optimizer.name": "adamw", "optimizer.weight_decay": 0.5}
    made, metrics = make_steps(1, num_steps=1, **settings)
    assert made.decayed == []
    loss, labeled, _, unlabeled, _ = metrics[0]
    assert loss == pytest.approx(labeled + 2.0 * unlabeled, rel=1e-6)


def one_state(configuration, build_model=tiny.build, load_teacher=None):
    return state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategies.mirrored(1),
        source=state.ModelSource(build=build_model, load_teacher=load_teacher),
        schedule=optimizer.constant(0.1),
    )


def gradients_of(train_state, batch, configuration, seed=0):
    """Return the named metrics and the gradients of one batch."""
    settings = make_settings(configuration, tiny.make_durations(configuration))
    gradients, metrics = step.compute_gradients(
        train_state, settings, batch, tf.constant([seed, 2])
    )
    named = dict(zip(settings.metric_names, metrics.numpy(), strict=True))
    return named, gradients


@pytest.mark.parametrize(("mean", "share"), [("kept", 1.0), ("batch", 0.5)])
def test_kept_labeled_losses_keep_their_mean(mean, share):
    # Over many draws, half of the images give the loss of all of them when it
    # is divided by the images kept, and half of it as published.
    values = {"loss.labeled_mean": mean, "optimizer.weight_decay": 0.0}
    configuration = tiny.make_config(**values)
    half = tiny.make_config(
        **values,
        **{
            "training.labeled_keep_probability": 0.5,
            "training.unlabeled_ratio": 4.0,
        },
    )
    train_state = one_state(configuration)
    batch = next(iter(tiny.make_stream(0)))
    every, _ = gradients_of(train_state, batch, configuration)
    drawn = [
        gradients_of(train_state, batch, half, seed)[0] for seed in range(60)
    ]
    losses = [metrics["labeled_loss"] for metrics in drawn]
    assert len({round(float(loss), 5) for loss in losses}) > 5
    assert np.mean(losses) == pytest.approx(
        share * every["labeled_loss"], rel=0.2
    )
    # 8 unlabeled images to 2 kept ones, whatever the labeled mean.
    first = drawn[0]
    assert first["loss"] - first["labeled_loss"] == pytest.approx(
        4.0 * first["unlabeled_loss"], rel=1e-5
    )


class NoiseRecorder(tiny.TinyModel):
    """Remembers which images it was told to noise."""

    noised = None

    def call(self, images, training=False, noise_seed=None, noised=None):
        if training:
            NoiseRecorder.noised = noised
        return super().call(images, training, noise_seed, noised)


def _recorder():
    model = NoiseRecorder()
    model(tf.zeros([1, tiny.SIDE, tiny.SIDE, 3]))
    return model


def test_noise_of_unlabeled_images_is_switched_alone():
    batch = next(iter(tiny.make_stream(0)))
    configuration = tiny.make_config()
    train_state = one_state(configuration, _recorder)
    values = {"training.noise_unlabeled": False}
    gradients_of(train_state, batch, tiny.make_config(**values))
    assert NoiseRecorder.noised.numpy().tolist() == [True] * 4 + [False] * 8
    gradients_of(train_state, batch, configuration)
    assert NoiseRecorder.noised is None


def test_online_teacher_labels_clean_twins_without_gradient():
    batch = dict(next(iter(tiny.make_stream(0))))
    teacher = tiny.build()
    # At a resolution of its own.
    twins = tf.image.resize(batch["unlabeled_images"], [12, 12])
    twins = tf.cast(twins, tf.uint8)
    configuration = tiny.make_config()
    train_state = one_state(configuration, load_teacher=lambda: teacher)
    trained = set(map(id, train_state.trained))
    assert not trained & set(map(id, teacher.weights))
    before = tiny.weights_of(teacher)
    online, gradients = gradients_of(
        train_state, batch | {"clean_unlabeled_images": twins}, configuration
    )

    # The same labels, stored, give the same; the batch's own are not read.
    without = dataclasses.replace(train_state, teacher=None)
    stored = tf.nn.softmax(teacher(twins, training=False))
    offline, expected = gradients_of(
        without, batch | {"soft_labels": stored}, configuration
    )
    for a, b in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    other, _ = gradients_of(without, batch, configuration)
    assert online["loss"] == pytest.approx(offline["loss"], rel=1e-5)
    assert online["loss"] != pytest.approx(other["loss"], rel=1e-3)
    for a, b in zip(before, tiny.weights_of(teacher), strict=True):
        np.testing.assert_array_equal(a, b)


def test_clean_twins_are_dealt_with_their_images():
    def with_twins(start_step):
        return tiny.make_stream(start_step).map(
            lambda batch: (
                batch | {"clean_unlabeled_images": batch["unlabeled_images"]}
            )
        )

    strategy = strategies.mirrored(2)
    stream = replicas.distribute(
        with_twins,
        start_step=0,
        strategy=strategy,
        labeled_batch_size=4,
        unlabeled_batch_size=8,
        has_clean_twins=True,
    )
    parts = next(iter(stream))
    images, twins = (
        strategy.experimental_local_results(parts[name])
        for name in ("unlabeled_images", "clean_unlabeled_images")
    )
    for a, b in zip(images, twins, strict=True):
        np.testing.assert_array_equal(a, b)


def test_replicas_get_every_second_row_of_the_batch():
    strategy = strategies.mirrored(2)
    stream = replicas.distribute(
        tiny.make_stream,
        start_step=3,
        strategy=strategy,
        labeled_batch_size=4,
        unlabeled_batch_size=8,
    )
    whole = next(iter(tiny.make_stream(3)))
    parts = next(iter(stream))
    for name, tensor in whole.items():
        local = strategy.experimental_local_results(parts[name])
        for replica in (0, 1):
            np.testing.assert_array_equal(local[replica], tensor[replica::2])


def test_frozen_statistics_leave_their_average_untouched():
    model, averages = tiny.build(), tiny.build()
    model.stem_norm.moving_mean.assign([0.1, 0.2, 0.3, 0.7])
    state.start_averages(averages, model)

    @tf.function
    def update(t):
        state.update_averages(averages, model, state.ramped_decay(0.9, t))

    for t in range(3):
        update(tf.constant(t))
    for a, b in zip(*map(tiny.weights_of, (model, averages)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("has_accelerator", "waits_for"),
    # The last step's metrics; the seconds waited, which the last batch ended.
    [(False, tf.float32), (True, tf.float64)],
)
def test_an_accelerators_next_step_is_asked_for_before_one_ends(
    monkeypatch, has_accelerator, waits_for
):
    monkeypatch.setattr(replicas, "has_accelerator", lambda: has_accelerator)
    configuration = tiny.make_config()
    train_steps = step.make_train_steps(
        one_state(configuration),
        make_settings(configuration, tiny.make_durations(configuration)),
        strategies.mirrored(1),
    )
    traced = train_steps.get_concrete_function(
        iter(tiny.make_stream(0)), tf.constant(2)
    )
    assert awaited_types(traced.graph.as_graph_def()) == {waits_for}


def awaited_types(graph):
    """Return the types of what a step of the loop waits for at its clock."""
    (body,) = (
        function
        for function in graph.library.function
        if {"Timestamp", "IteratorGetNext"}
        <= {node.op for node in function.node_def}
    )
    types = {each.name: each.type for each in body.signature.input_arg}
    clocks = [node for node in body.node_def if node.op == "Timestamp"]
    awaited = [
        {name.lstrip("^").split(":")[0] for name in clock.input}
        for clock in clocks
    ]
    (names,) = (each for each in awaited if each and each <= set(types))
    return {tf.as_dtype(types[name]) for name in names}
