"""Named configurations: the paper's rows, SVHN, and small data on a laptop.

A preset is what a user could also write as flags: dotted names and values.
Numbers of `imagenet_*` and `svhn` are the paper's (arXiv 1911.04252v4,
Section 3.1) and the published scripts' (`local_scripts/`); those of the small
presets are ours, chosen on validation images only.
"""

import difflib
from typing import Any

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree

Values = dict[str, Any]

# Published scripts: (unlabeled ratio, labeled epochs, RandAugment magnitude);
# magnitude 0 means crop and flip only. Resolutions are EfficientNet's own.
_IMAGENET_ROWS = {
    "b0": (1, 700, 0, 224),
    "b1": (3, 700, 0, 240),
    "b2": (3, 700, 6, 260),
    "b3": (3, 700, 12, 300),
    "b4": (3, 700, 15, 380),
    "b5": (3, 350, 18, 456),
    "b6": (3, 350, 24, 528),
    "b7": (3, 350, 27, 600),
}

# Paper, Table 7: the ratio of each of L2's iterations.
_L2_RATIOS = {1: 14, 2: 14, 3: 28}


def _noise(**policy: Any) -> Values:
    """Return the same image noise for labeled and unlabeled images."""
    return {
        f"augmentation.{stream}.{name}": value
        for stream in ("labeled", "unlabeled")
        for name, value in policy.items()
    }


def _epochs(teacher: float, student: float) -> Values:
    return {
        "training.teacher_epochs": teacher,
        "training.student_epochs": student,
    }


def _record_every(lines: int, evaluations: int, checkpoints: int) -> Values:
    return {
        "training.steps_per_loop": lines,
        "training.evaluate_every_steps": evaluations,
        "training.checkpoint_every_steps": checkpoints,
    }


def _imagenet(variant: str) -> Values:
    ratio, epochs, magnitude, resolution = _IMAGENET_ROWS[variant]
    return {
        # ImageNet brings its own held-out set: --data.evaluation.
        "data.num_classes": 1000,
        "data.evaluation_fraction": 0.0,
        "data.validation_fraction": 0.01,
        "data.num_shards": 1024,
        "model.name": f"efficientnet-{variant}",
        "model.resolution": resolution,
        **_noise(
            policy="randaugment" if magnitude else "none", magnitude=magnitude
        ),
        # The stairs are as long as the run: 2.4 epochs in 350, 4.8 in 700.
        "optimizer.decay_epochs": 2.4 * epochs / 350,
        "training.unlabeled_ratio": ratio,
        **_epochs(epochs, epochs),
        # Figure 2: one student of the teacher's size, no iteration.
        "self_training.num_iterations": 1,
    }


def _imagenet_l2(iteration: int) -> Values:
    if iteration == 1:
        # Paper, Section 3.1: the first teacher is B7 on labeled images only.
        teacher: Values = {
            "self_training.teacher_name": "efficientnet-b7",
            "self_training.teacher_resolution": 600,
        }
    else:
        previous = f"runs/imagenet_l2_iteration{iteration - 1}/student_1"
        teacher = {"self_training.teacher_directory": previous}
    return {
        **_imagenet("b7"),
        **teacher,
        "model.name": "efficientnet-l2",
        "model.resolution": 475,
        # Without recomputing, a core of a TPU v3 would need 81 GiB.
        "model.recompute": True,
        "training.unlabeled_ratio": _L2_RATIOS[iteration],
        "fixres.resolution": 800,
        "fixres.epochs": 1.5,
    }


# Perceptual hashes tell pictures of 32 pixels hardly apart; identical files
# are left out anyway.
_NO_SEARCH = {"labeling.near_duplicate_bits": -1}

# Of ten classes nearly every image has one above 0.3, the threshold for a
# thousand.
_FEW_CLASSES = {
    "selection.images_per_class": 0,
    "selection.confidence_threshold": 0.6,
}

# RMSProp is indifferent to the scale of the loss, SGD is not: with the
# published weights of the losses a student would learn 6 times as fast.
_SGD = {
    "optimizer.name": "sgd",
    "optimizer.schedule": "cosine",
    "optimizer.weight_decay": 1e-4,
    "loss.weighting": "all",
}

# The published SVHN run (`local_scripts/svhn`).
_SVHN = {
    "data.labeled": "tfds:svhn_cropped/train",
    "data.unlabeled": "tfds:svhn_cropped/extra",
    "data.evaluation": "tfds:svhn_cropped/test",
    "data.num_classes": 10,
    "data.evaluation_fraction": 0.0,
    # 4,000 of 73,257 training images.
    "data.validation_fraction": 4000 / 73257,
    "data.num_shards": 64,
    "model.resolution": 32,
    "model.small_image_strides": True,
    "model.mean_rgb": (0.4377 * 255, 0.4438 * 255, 0.4728 * 255),
    "model.std_rgb": (0.1980 * 255, 0.2010 * 255, 0.1970 * 255),
    **_noise(
        crop="pad",
        horizontal_flip=False,
        magnitude=5,
        translate_pixels=32 / 8,
        cutout_pixels=32 / 8,
        extra_cutout_pixels=8,
    ),
    "optimizer.decay_epochs": 1.372,
    "optimizer.weight_decay": 1e-4,
    "training.labeled_batch_size": 128,
    "training.unlabeled_ratio": 5,
    **_epochs(202.3, 202.3),
    **_NO_SEARCH,
    "selection.images_per_class": 53_113,
    "self_training.num_iterations": 1,
}


def _small_images(*, resolution: int, mean: float, std: float) -> Values:
    """Return what the presets for small gray images share.

    A net of 0.7 M parameters. Mean and std are of the gray value in [0, 255].
    """
    return {
        "model.width": 0.5,
        "model.depth": 0.4,
        "model.resolution": resolution,
        "model.small_image_strides": True,
        "model.batch_norm_momentum": 0.97,
        "model.dropout_rate": 0.2,
        "model.stochastic_depth_rate": 0.1,
        "model.mean_rgb": (mean,) * 3,
        "model.std_rgb": (std,) * 3,
        **_noise(
            crop="pad",
            pad_pixels=resolution // 8,
            # A mirrored digit is another class, or none.
            horizontal_flip=False,
            # Published for SVHN: 5, and an eighth of the side.
            magnitude=5,
            translate_pixels=resolution / 8,
            cutout_pixels=resolution / 8,
        ),
        **_SGD,
        "optimizer.base_learning_rate": 0.8,
        "optimizer.warmup_epochs": 10,
        "optimizer.ema_decay": 0.99,
        "training.labeled_batch_size": 16,
        "training.unlabeled_ratio": 5,
        **_record_every(50, 100, 100),
        "training.evaluation_batch_size": 128,
        **_NO_SEARCH,
        **_FEW_CLASSES,
        "self_training.num_iterations": 1,
        "evaluation.robustness": True,
        "evaluation.robustness_images": 60,
        "evaluation.robustness_sequences": 10,
    }


_DIGITS = {
    **_small_images(resolution=24, mean=78.0, std=96.0),
    "data.labeled": "digits",
    "data.num_classes": 10,
    "data.labeled_per_class": 2,
    "data.evaluation_fraction": 0.28,
    "data.validation_fraction": 0.12,
    "data.num_shards": 4,
    # 20 images make 1.25 steps of 16 an epoch. The teacher gets 1,000 steps;
    # its validation accuracy has stopped rising by step 700.
    **_epochs(800, 320),
    "self_training.num_iterations": 2,
    "fixres.resolution": 32,
    "fixres.epochs": 40,
    "fixres.trainable": "after_frozen_blocks",
    "fixres.frozen_blocks": 1,
    "fixres.base_learning_rate": 0.08,
}

_FASHION_MNIST = {
    **_small_images(resolution=32, mean=73.0, std=90.0),
    "data.labeled": "idx:/usr/share/datasets/fashion-mnist",
    "data.evaluation": "idx:/usr/share/datasets/fashion-mnist#t10k",
    "data.num_classes": 10,
    "data.labeled_per_class": 100,
    "data.evaluation_fraction": 0.0,
    "data.validation_fraction": 0.05,
    **_noise(horizontal_flip=True),
    **_epochs(20, 25),
    "fixres.resolution": 40,
    "fixres.epochs": 4,
    "fixres.base_learning_rate": 0.016,
}

# Photographs, some 20 to 1,000 of them labeled: released weights that are
# fine-tuned. docs/study_solar_cells.md has the search. An epoch of few images
# is a few steps: the least length decides, up to 1,000 labels.
_PHOTOS = {
    "data.split": "stratified",
    # 224 pixels of the test crop are 256 of the picture.
    "data.max_stored_side": 320,
    "model.name": "efficientnet-lite0",
    "model.resolution": 224,
    "model.initial_weights": "efficientnet-lite0",
    "self_training.initialize_students_from": "initial_weights",
    # Batches of 16 images say little about the statistics of all.
    "model.batch_norm_frozen": True,
    # Edges and textures are known; without the gradients of the largest maps
    # a step is half again as fast.
    "training.frozen_blocks": 5,
    # With few classes the published head begins over-confident.
    "model.head_initializer": "fan_in",
    **_noise(magnitude=10),
    "optimizer.name": "adamw",
    "optimizer.schedule": "cosine",
    # 3e-4 for batches of 16.
    "optimizer.base_learning_rate": 0.0048,
    "optimizer.weight_decay": 0.01,
    "optimizer.warmup_epochs": 0,
    "optimizer.warmup_share": 0.1,
    "optimizer.ema_decay": 0.97,
    "loss.class_weights": "balanced",
    "training.labeled_batch_size": 16,
    "training.unlabeled_ratio": 3,
    **_epochs(4, 4),
    "training.min_steps": 240,
    **_record_every(20, 80, 80),
    "training.keep_checkpoints": 1,
    "training.evaluation_batch_size": 64,
    **_FEW_CLASSES,
    "selection.confidence_threshold": 0.5,
    "self_training.num_iterations": 1,
}

# The same without weights to begin with: a small net on small pictures. Less
# noise, since with RandAugment on the labeled images, dropout and stochastic
# depth it hardly learns 80 of them. Expect much less.
_PHOTOS_FROM_SCRATCH = {
    **_small_images(resolution=64, mean=127.0, std=64.0),
    "data.split": "stratified",
    "data.max_stored_side": 128,
    "model.small_image_strides": False,
    "model.head_initializer": "fan_in",
    "model.dropout_rate": 0.0,
    "model.stochastic_depth_rate": 0.0,
    **_noise(crop="inception", horizontal_flip=True),
    "augmentation.labeled.policy": "none",
    "optimizer.base_learning_rate": 0.4,
    "optimizer.warmup_epochs": 0,
    "optimizer.warmup_share": 0.1,
    "loss.class_weights": "balanced",
    **_epochs(4, 4),
    "training.min_steps": 2000,
    "evaluation.robustness": False,
}

# The whole loop in seconds, for tests: far too small to learn.
_TINY = {
    **_small_images(resolution=16, mean=78.0, std=96.0),
    "data.labeled": "digits",
    "data.num_classes": 10,
    "data.labeled_per_class": 4,
    "data.evaluation_fraction": 0.1,
    "data.validation_fraction": 0.1,
    "data.num_shards": 2,
    "model.width": 0.25,
    "model.depth": 0.1,
    "training.labeled_batch_size": 8,
    "training.unlabeled_ratio": 2,
    **_epochs(4, 4),
    **_record_every(5, 10, 5),
    # An unlearned net is never sure of anything.
    "selection.images_per_class": 20,
    "selection.confidence_threshold": 0.0,
    "self_training.allow_weak_teacher": True,
    "fixres.resolution": 24,
    "fixres.epochs": 1,
    "fixres.base_learning_rate": 0.0002,
    # Tracing the gradients of every model takes longer than the rest.
    "evaluation.robustness": False,
    "evaluation.robustness_images": 2,
    "evaluation.robustness_sequences": 1,
}

_VALUES = {
    "digits": _DIGITS,
    "fashion_mnist": _FASHION_MNIST,
    "svhn": _SVHN,
    "photos": _PHOTOS,
    "photos_from_scratch": _PHOTOS_FROM_SCRATCH,
    **{f"imagenet_{name}": _imagenet(name) for name in _IMAGENET_ROWS},
    **{f"imagenet_l2_iteration{i}": _imagenet_l2(i) for i in _L2_RATIOS},
    "tiny": _TINY,
}

# What a preset says of its own images, and not of how to learn from such.
_OF_ITS_IMAGES = (
    "unlabeled",
    "evaluation",
    "num_classes",
    "labeled_per_class",
    "evaluation_fraction",
    "validation_fraction",
)

PRESETS = {
    name: config_tree.override(configs.Config(), {"preset": name, **values})
    for name, values in _VALUES.items()
}


def preset(name: str) -> configs.Config:
    """Return a named configuration.

    Raises:
        ValueError: There is no such preset; the nearest name is given.
    """
    if name not in PRESETS:
        nearest = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(
            f"--preset={name}: no such preset.{hint} Presets: "
            f"{', '.join(PRESETS)}."
        )
    return PRESETS[name]


def for_images(config: configs.Config, labeled: str) -> configs.Config:
    """Return a preset for other images than its own, if it has some.

    What it says of its own images does not hold of them: their number of
    classes, held-out images and shares are those of no preset, and splits are
    stratified.
    """
    if not config.data.labeled or config.data.labeled == labeled:
        return config
    plain = configs.DataConfig()
    values = {f"data.{n}": getattr(plain, n) for n in _OF_ITS_IMAGES}
    return config_tree.override(
        config,
        {**values, "data.labeled": labeled, "data.split": "stratified"},
    )


def describe(config: configs.Config) -> str:
    """Return a configuration as what differs from its preset."""
    values = dict(config_tree.flatten(preset(config.preset)))
    differing = []
    for name, value in config_tree.flatten(config):
        if value != values[name]:
            parts = value if isinstance(value, tuple) else (value,)
            differing.append(f"--{name}={','.join(map(str, parts))}")
    return " ".join([f"Configuration: --preset={config.preset}", *differing])
