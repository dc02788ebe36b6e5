"""Predict what a run at full scale takes, before anybody rents anything.

Steps, images, multiply-adds, accelerator hours at a stated utilization, images
that each host must feed, memory of a device, storage of every stage, the
schedule and what selection would leave: arithmetic on the configuration.
Nothing is read, trained or written.

    python -m run_scripts.plan --preset=imagenet_l2_iteration1 \
      --accelerator=v3-2048
"""

from absl import flags

from noisy_student_tf import configs
from noisy_student_tf.planning import accelerators, compute, describe
from run_scripts import flags as config_flags

# Images of the published runs (paper, Section 3.1; the authors' SVHN split).
_IMAGENET = {
    "num_labeled": 1_281_167,
    "num_unlabeled": 300_000_000,
    "num_selected": 81_000_000,
}
_SVHN = {
    "num_labeled": 69_257,
    "num_unlabeled": 531_131,
    "num_selected": 531_131,
}


def define_flags() -> None:
    """Define what the plan assumes."""
    config_flags.define_config_flags()
    flags.DEFINE_string(
        "accelerator",
        "v3-2048",
        f"FAMILY-NUMBER, of {', '.join(accelerators.FAMILIES)}.",
    )
    flags.DEFINE_float(
        "utilization",
        # The paper's L2: 10.6 %, of what it says its training took.
        0.1,
        "Share of the accelerator's peak.",
        0.001,
        1.0,
    )
    for name, what in (
        ("num_labeled", "Labeled training images"),
        ("num_unlabeled", "Unlabeled images"),
        ("num_selected", "Different images that the selection keeps"),
    ):
        flags.DEFINE_integer(
            name, None, f"{what}. Default: the published run's.", 1
        )
    flags.DEFINE_float(
        "labeled_image_kilobytes", 110.0, "Mean stored size (ImageNet: 110)."
    )
    flags.DEFINE_float("unlabeled_image_kilobytes", 30.0, "Mean stored size.")
    flags.DEFINE_integer("host_cores", 96, "Processor cores of a host.", 1)
    flags.DEFINE_float(
        "core_images_per_second",
        286.0,
        "Noised images that one core makes; measure yours with "
        "`python -m benchmarks.input_pipeline`. The default was measured on a "
        "core of an x86-64 server.",
    )
    flags.DEFINE_integer(
        "host_images_resolution", 224, "Side of those images in pixels."
    )


def main(_: list[str]) -> None:
    """Print the plan of the run that the flags name."""
    config = config_flags.config_from_flags()
    print(
        describe.describe(
            config,
            _data(config),
            accelerator=accelerators.parse(flags.FLAGS.accelerator),
            assumptions=_assumptions(),
        )
    )


def _data(config: configs.Config) -> compute.Data:
    """Return the counts that the flags, or the published run, give.

    Raises:
        ValueError: A preset without published counts, and a flag is missing.
    """
    published = {"imagenet": _IMAGENET, "svhn": _SVHN}.get(
        config.preset.split("_")[0], {}
    )
    counts = {}
    for name in ("num_labeled", "num_unlabeled", "num_selected"):
        given = flags.FLAGS[name].value
        if given is None and name not in published:
            raise ValueError(
                f"--{name} is missing: --preset={config.preset} has no "
                "published number of images; count yours."
            )
        counts[name] = given if given is not None else published[name]
    quota = config.selection.images_per_class
    num_rows = quota * config.data.num_classes
    return compute.Data(num_rows=num_rows or counts["num_unlabeled"], **counts)


def _assumptions() -> describe.Assumptions:
    values = flags.FLAGS
    return describe.Assumptions(
        utilization=values.utilization,
        labeled_image_bytes=1000 * values.labeled_image_kilobytes,
        unlabeled_image_bytes=1000 * values.unlabeled_image_kilobytes,
        host_rate=values.host_cores * values.core_images_per_second,
        host_rate_resolution=values.host_images_resolution,
    )


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
