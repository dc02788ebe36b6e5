"""A student's whole step, small, as a pod's cores run it."""

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import replicas
from noisy_student_tf.model import architectures
from noisy_student_tf.training import optimizer, state, step

NUM_CLASSES = 10
SIDE = 32


def make_spec(name, **options):
    """Return an EfficientNet with the variant's own number of blocks."""
    model = configs.ModelConfig(
        name=name, width=0.1, resolution=SIDE, dropout_rate=0.3, **options
    )
    return architectures.make_spec(
        model, num_classes=NUM_CLASSES, class_names=()
    )


def make_config(**overrides):
    """Return the configuration of a step of 8 labeled images."""
    values = {
        "training.labeled_batch_size": 8,
        "training.unlabeled_ratio": 1.0,
        "data.num_classes": NUM_CLASSES,
    }
    return config_tree.override(configs.Config(), values | overrides)


def make_batches(config, *, has_twins=False, has_mixed=False):
    """Return an endless dataset of one batch, the same in every step."""
    num_labeled = config.training.labeled_batch_size
    num_unlabeled = config.training.unlabeled_batch_size
    images = tf.zeros([num_labeled, SIDE, SIDE, 3], tf.uint8)
    twins = tf.zeros([num_unlabeled, SIDE, SIDE, 3], tf.uint8)
    even = 1 / NUM_CLASSES
    batch = {
        "labeled_images": images,
        "labels": tf.zeros([num_labeled], tf.int32),
        "unlabeled_images": twins,
        "soft_labels": tf.fill([num_unlabeled, NUM_CLASSES], even),
    }
    if has_twins:
        batch["clean_unlabeled_images"] = twins
    if has_mixed:
        batch["label_probabilities"] = tf.fill([num_labeled, NUM_CLASSES], even)
    return tf.data.Dataset.from_tensors(batch).repeat()


def make_state(
    strategy,
    name,
    config,
    *,
    depth=0.0,
    dtype="float32",
    recompute=False,
    teacher=False,
):
    """Return the variables of a student; depth 0 is the variant's own."""
    spec = make_spec(name, depth=depth)

    def build():
        return architectures.build(
            spec,
            synchronized_batch_norm=strategy.num_replicas_in_sync > 1,
            batch_norm_group_size=config.model.batch_norm_group_size,
            recompute=recompute,
            dtype=dtype,
        )

    load_teacher = (
        (lambda: architectures.build(spec, dtype=dtype)) if teacher else None
    )
    return state.create(
        settings=config.optimizer,
        seed=3,
        strategy=strategy,
        source=state.ModelSource(build=build, load_teacher=load_teacher),
        schedule=optimizer.learning_rate(
            config, total_steps=100, steps_per_epoch=2.5
        ),
    )


def make_settings(config):
    """Return what a step computes."""
    return step.StepSettings(
        config=config,
        unlabeled_batch_size=config.training.unlabeled_batch_size,
        seed=5,
    )


def trace(strategy, name, config, **options):
    """Return the graph of some steps under a strategy."""
    train_state = make_state(strategy, name, config, **options)
    stream = replicas.distribute(
        lambda start_step: make_batches(config),
        start_step=0,
        strategy=strategy,
        labeled_batch_size=config.training.labeled_batch_size,
        unlabeled_batch_size=config.training.unlabeled_batch_size,
    )
    train_steps = step.make_train_steps(
        train_state, make_settings(config), strategy
    )
    traced = train_steps.get_concrete_function(iter(stream), tf.constant(2))
    return traced.graph.as_graph_def()
