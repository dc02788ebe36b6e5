"""Named configurations: the paper's rows, SVHN, and small data on a laptop.

Numbers of `imagenet_*` and `svhn` are the paper's (arXiv 1911.04252v4,
Section 3.1) and the published scripts' (`local_scripts/`); those of the small
presets are ours, chosen on validation images only.
"""

import dataclasses
import difflib

from noisy_student_tf import configs

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

# Perceptual hashes tell pictures of 32 pixels hardly apart; identical files
# are left out anyway.
_NO_SEARCH = configs.LabelingConfig(near_duplicate_bits=-1)


def _both(policy: configs.PolicyConfig) -> configs.AugmentationConfig:
    return configs.AugmentationConfig(labeled=policy, unlabeled=policy)


def _imagenet(variant: str) -> configs.Config:
    ratio, epochs, magnitude, resolution = _IMAGENET_ROWS[variant]
    return configs.Config(
        preset=f"imagenet_{variant}",
        # ImageNet brings its own held-out set: --data.evaluation.
        data=configs.DataConfig(
            num_classes=1000,
            evaluation_fraction=0.0,
            validation_fraction=0.01,
            num_shards=1024,
        ),
        model=configs.ModelConfig(
            name=f"efficientnet-{variant}", resolution=resolution
        ),
        augmentation=_both(
            configs.PolicyConfig(
                policy="randaugment" if magnitude else "none",
                magnitude=magnitude,
            )
        ),
        # The stairs are as long as the run: 2.4 epochs in 350, 4.8 in 700.
        optimizer=configs.OptimizerConfig(decay_epochs=2.4 * epochs / 350),
        training=configs.TrainingConfig(
            unlabeled_ratio=ratio,
            teacher_epochs=epochs,
            student_epochs=epochs,
        ),
        # Figure 2: one student of the teacher's size, no iteration.
        self_training=configs.SelfTrainingConfig(num_iterations=1),
    )


def _imagenet_l2(iteration: int) -> configs.Config:
    base = _imagenet("b7")
    if iteration == 1:
        # Paper, Section 3.1: the first teacher is B7 on labeled images only.
        self_training = configs.SelfTrainingConfig(
            num_iterations=1,
            teacher_name="efficientnet-b7",
            teacher_resolution=600,
        )
    else:
        previous = f"runs/imagenet_l2_iteration{iteration - 1}/student_1"
        self_training = configs.SelfTrainingConfig(
            num_iterations=1, teacher_directory=previous
        )
    return dataclasses.replace(
        base,
        preset=f"imagenet_l2_iteration{iteration}",
        # Without recomputing, a core of a TPU v3 would need 81 GiB.
        model=configs.ModelConfig(
            name="efficientnet-l2", resolution=475, recompute=True
        ),
        training=dataclasses.replace(
            base.training, unlabeled_ratio=_L2_RATIOS[iteration]
        ),
        self_training=self_training,
        fixres=configs.FixResConfig(resolution=800, epochs=1.5),
    )


def _svhn() -> configs.Config:
    """Return the published SVHN run (`local_scripts/svhn`)."""
    batch_size, epochs = 128, 202.3
    return configs.Config(
        preset="svhn",
        data=configs.DataConfig(
            labeled="tfds:svhn_cropped/train",
            unlabeled="tfds:svhn_cropped/extra",
            evaluation="tfds:svhn_cropped/test",
            num_classes=10,
            evaluation_fraction=0.0,
            # 4,000 of 73,257 training images.
            validation_fraction=4000 / 73257,
            num_shards=64,
        ),
        model=configs.ModelConfig(
            resolution=32,
            small_image_strides=True,
            mean_rgb=(0.4377 * 255, 0.4438 * 255, 0.4728 * 255),
            std_rgb=(0.1980 * 255, 0.2010 * 255, 0.1970 * 255),
        ),
        augmentation=_both(
            configs.PolicyConfig(
                crop="pad",
                horizontal_flip=False,
                magnitude=5,
                translate_pixels=32 / 8,
                cutout_pixels=32 / 8,
                extra_cutout_pixels=8,
            )
        ),
        optimizer=configs.OptimizerConfig(
            decay_epochs=1.372, weight_decay=1e-4
        ),
        training=configs.TrainingConfig(
            labeled_batch_size=batch_size,
            unlabeled_ratio=5,
            teacher_epochs=epochs,
            student_epochs=epochs,
        ),
        labeling=_NO_SEARCH,
        selection=configs.SelectionConfig(images_per_class=53_113),
        self_training=configs.SelfTrainingConfig(num_iterations=1),
    )


def _small_images(
    *, resolution: int, mean: float, std: float
) -> configs.Config:
    """Return what the presets for small gray images share.

    A net of 0.7 M parameters. Mean and std are of the gray value in [0, 255].
    """
    return configs.Config(
        model=configs.ModelConfig(
            width=0.5,
            depth=0.4,
            resolution=resolution,
            small_image_strides=True,
            batch_norm_momentum=0.97,
            dropout_rate=0.2,
            stochastic_depth_rate=0.1,
            mean_rgb=(mean,) * 3,
            std_rgb=(std,) * 3,
        ),
        augmentation=_both(
            configs.PolicyConfig(
                crop="pad",
                pad_pixels=resolution // 8,
                # A mirrored digit is another class, or none.
                horizontal_flip=False,
                # Published for SVHN: 5, and an eighth of the side.
                magnitude=5,
                translate_pixels=resolution / 8,
                cutout_pixels=resolution / 8,
            )
        ),
        optimizer=configs.OptimizerConfig(
            name="sgd",
            base_learning_rate=0.8,
            schedule="cosine",
            warmup_epochs=10,
            weight_decay=1e-4,
            ema_decay=0.99,
        ),
        # RMSProp is indifferent to the scale of the loss, SGD is not: with
        # the published weights a student would learn 6 times as fast.
        loss=configs.LossConfig(weighting="all"),
        training=configs.TrainingConfig(
            labeled_batch_size=16,
            unlabeled_ratio=5,
            steps_per_loop=50,
            evaluate_every_steps=100,
            checkpoint_every_steps=100,
            evaluation_batch_size=128,
        ),
        labeling=_NO_SEARCH,
        # Of ten classes nearly every image has one above 0.3, the threshold
        # for a thousand.
        selection=configs.SelectionConfig(
            images_per_class=0, confidence_threshold=0.6
        ),
        self_training=configs.SelfTrainingConfig(num_iterations=1),
        evaluation=configs.EvaluationConfig(
            robustness=True, robustness_images=60, robustness_sequences=10
        ),
    )


def _digits() -> configs.Config:
    base = _small_images(resolution=24, mean=78.0, std=96.0)
    return dataclasses.replace(
        base,
        preset="digits",
        data=configs.DataConfig(
            labeled="digits",
            num_classes=10,
            labeled_per_class=2,
            evaluation_fraction=0.28,
            validation_fraction=0.12,
            num_shards=4,
        ),
        # 20 images make 1.25 steps of 16 an epoch. The teacher gets 1,000
        # steps; its validation accuracy has stopped rising by step 700.
        training=dataclasses.replace(
            base.training, teacher_epochs=800, student_epochs=320
        ),
        self_training=configs.SelfTrainingConfig(num_iterations=2),
        fixres=configs.FixResConfig(
            resolution=32,
            epochs=40,
            trainable="after_frozen_blocks",
            frozen_blocks=1,
            base_learning_rate=0.08,
        ),
    )


def _fashion_mnist() -> configs.Config:
    base = _small_images(resolution=32, mean=73.0, std=90.0)
    policy = dataclasses.replace(
        base.augmentation.labeled, horizontal_flip=True
    )
    return dataclasses.replace(
        base,
        preset="fashion_mnist",
        data=configs.DataConfig(
            labeled="idx:/usr/share/datasets/fashion-mnist",
            evaluation="idx:/usr/share/datasets/fashion-mnist#t10k",
            num_classes=10,
            labeled_per_class=100,
            evaluation_fraction=0.0,
            validation_fraction=0.05,
        ),
        augmentation=_both(policy),
        training=dataclasses.replace(
            base.training, teacher_epochs=20, student_epochs=25
        ),
        fixres=configs.FixResConfig(
            resolution=40, epochs=4, base_learning_rate=0.016
        ),
    )


def _photos() -> configs.Config:
    """Return a start for some hundred labeled photographs of one's own.

    Only its mechanics were tried: with few labels, from scratch, expect to
    adjust resolution, epochs and magnitude to the images.
    """
    return configs.Config(
        preset="photos",
        data=configs.DataConfig(max_stored_side=320),
        # With few classes the published head begins over-confident.
        model=configs.ModelConfig(
            resolution=128,
            batch_norm_momentum=0.97,
            head_initializer="fan_in",
        ),
        augmentation=_both(configs.PolicyConfig(magnitude=10)),
        optimizer=configs.OptimizerConfig(
            name="sgd",
            base_learning_rate=0.4,
            schedule="cosine",
            weight_decay=1e-4,
            ema_decay=0.999,
        ),
        loss=configs.LossConfig(weighting="all"),
        training=configs.TrainingConfig(
            labeled_batch_size=32,
            unlabeled_ratio=3,
            teacher_epochs=100,
            student_epochs=100,
            steps_per_loop=20,
            evaluate_every_steps=200,
            checkpoint_every_steps=200,
            evaluation_batch_size=64,
        ),
        selection=configs.SelectionConfig(
            images_per_class=0, confidence_threshold=0.5
        ),
        self_training=configs.SelfTrainingConfig(num_iterations=1),
        fixres=configs.FixResConfig(
            resolution=160, epochs=5, base_learning_rate=0.01
        ),
    )


def _tiny() -> configs.Config:
    """Return the whole loop in seconds, for tests: far too small to learn."""
    base = _small_images(resolution=16, mean=78.0, std=96.0)
    return dataclasses.replace(
        base,
        preset="tiny",
        data=configs.DataConfig(
            labeled="digits",
            num_classes=10,
            labeled_per_class=4,
            evaluation_fraction=0.1,
            validation_fraction=0.1,
            num_shards=2,
        ),
        model=dataclasses.replace(base.model, width=0.25, depth=0.1),
        training=dataclasses.replace(
            base.training,
            labeled_batch_size=8,
            unlabeled_ratio=2,
            teacher_epochs=4,
            student_epochs=4,
            steps_per_loop=5,
            evaluate_every_steps=10,
            checkpoint_every_steps=5,
        ),
        labeling=_NO_SEARCH,
        # An unlearned net is never sure of anything.
        selection=configs.SelectionConfig(
            images_per_class=20, confidence_threshold=0.0
        ),
        fixres=configs.FixResConfig(
            resolution=24, epochs=1, base_learning_rate=0.0002
        ),
        # Tracing the gradients of every model takes longer than the rest.
        evaluation=configs.EvaluationConfig(
            robustness=False, robustness_images=2, robustness_sequences=1
        ),
    )


PRESETS = {
    "digits": _digits(),
    "fashion_mnist": _fashion_mnist(),
    "svhn": _svhn(),
    "photos": _photos(),
    **{f"imagenet_{name}": _imagenet(name) for name in _IMAGENET_ROWS},
    **{f"imagenet_l2_iteration{i}": _imagenet_l2(i) for i in _L2_RATIOS},
    "tiny": _tiny(),
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
