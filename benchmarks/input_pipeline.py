"""Images a second of our input pipeline and of its peers, in one run.

At 224 x 224 from JPEGs of 500 x 375 with RandAugment N=2, M=27, and at 32 x 32
from PNGs with the SVHN preset's settings: (a) decoding, crop and flip alone,
(b) ours with RandAugment, with and without decoding, (c) KerasCV's layer,
Keras' own, Model Garden's and timm's loader (two processes). All do the same
work: at 32 x 32 peers that decode also shift the image and cover a square.
Every figure is the middle of `--rounds` turns that go around: a busy neighbor
hits all alike, and rates by processor time hardly see it.

    bash benchmarks/peer_environments.sh .peers
    python -m benchmarks.input_pipeline --peers=.peers

The last line is one JSON object. Peers whose environment is missing are named
in it and left out.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import photographs, pipeline_peers
from noisy_student_tf import configs
from noisy_student_tf.configs import presets
from noisy_student_tf.pipeline import raw_stream, train_stream
from noisy_student_tf.pipeline.augmentation import augment, randaugment
from noisy_student_tf.records import schema, shards

flags.DEFINE_string("peers", ".peers", "Folder of the peers' environments.")
flags.DEFINE_float("seconds", 2.0, "Length of one measurement.")
flags.DEFINE_integer("rounds", 3, "Measurements of each, taken in turns.")
flags.DEFINE_integer("num_pictures", 256, "Different pictures.")
flags.DEFINE_list("only", None, "Names of the only ones to be measured.")

# Which environment has which peer; empty is this one.
ENVIRONMENTS = {
    "keras_cv": "",
    "model_garden": "garden",
    "timm": "torch",
    "keras_layer": "",
}


# Images a second, and images a second of processor time.
Rates = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured at one size."""

    name: str
    size: int
    batch_size: int
    kind: str
    policy: configs.PolicyConfig


def settings() -> list[Setting]:
    """Return the two sizes."""
    svhn = presets.preset("svhn").augmentation.unlabeled
    return [
        Setting("imagenet_224", 224, 64, "jpeg", configs.PolicyConfig()),
        Setting("svhn_32", 32, 512, "png", svhn),
    ]


def write_pictures(setting: Setting, directory: str) -> str:
    """Write pictures and return their glob."""
    width, height = (500, 375) if setting.size >= 64 else (32, 32)
    pictures = photographs.crops(
        flags.FLAGS.num_pictures, width=width, height=height
    )
    for i, picture in enumerate(pictures):
        path = os.path.join(directory, f"{setting.name}_{i:04d}.{setting.kind}")
        with open(path, "wb") as file:
            file.write(photographs.encode(picture, setting.kind))
    return os.path.join(directory, f"{setting.name}_*.{setting.kind}")


def make_config(
    setting: Setting, policy: configs.PolicyConfig
) -> configs.Config:
    """Return the configuration of our stream under one policy."""
    return configs.Config(
        model=configs.ModelConfig(
            resolution=setting.size, small_image_strides=setting.size < 64
        ),
        augmentation=configs.AugmentationConfig(
            labeled=policy, unlabeled=policy
        ),
        training=configs.TrainingConfig(labeled_batch_size=setting.batch_size),
    )


def write_shards(setting: Setting, pattern: str) -> shards.ShardSet:
    """Write the pictures as labeled shards."""
    paths = sorted(tf.io.gfile.glob(pattern))
    path = f"{os.path.dirname(pattern)}/{setting.name}.tfrecord"
    with shards.open_writer(path) as writer:
        for i, picture in enumerate(paths):
            with open(picture, "rb") as file:
                content = file.read()
            image_id = schema.make_id("benchmark", str(i))
            writer.write(
                schema.encode_image(image=content, image_id=image_id, label=0)
            )
    return shards.ShardSet(
        paths=(path,),
        num_records=len(paths),
        schema="image",
        num_classes=1,
        num_copies=len(paths),
    )


def our_rates(setting: Setting, shard_set: shards.ShardSet) -> dict[str, Rates]:
    """Return our rates: decoding alone, all of it, and without decoding."""
    plain = dataclasses.replace(
        setting.policy, policy="none", extra_cutout_pixels=0
    )
    rates = {}
    for name, policy in (("decode_only", plain), ("ours", setting.policy)):
        stream = train_stream.make_train_stream(
            labeled=shard_set,
            pseudo_labeled=None,
            config=make_config(setting, policy),
            resolution=setting.size,
            num_classes=1,
            start_step=0,
        )
        rates[name] = measure(stream, setting.batch_size)
    rates["ours_without_decoding"] = measure(
        augmented_only(setting), setting.batch_size
    )
    return rates


def augmented_only(setting: Setting) -> tf.data.Dataset:
    """Return batches of pictures that are noised but were decoded before."""
    pictures = photographs.crops(64, width=setting.size, height=setting.size)
    held = tf.constant(np.stack(pictures))
    count = len(pictures)

    @tf.autograph.experimental.do_not_convert
    def draw(begin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draws = augment.draw(
            setting.policy, seed=1, first_position=begin, count=count
        )
        return held, draws

    @tf.autograph.experimental.do_not_convert
    def noise(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        if not is_small:
            images, draws = images[tf.newaxis], draws[tf.newaxis]
        noised = augment.apply_policy(images, setting.policy, draws)
        return noised if is_small else noised[0]

    is_small = randaugment.is_small(setting.size)
    drawn = tf.data.Dataset.range(0, 10**9, count).map(draw)
    if is_small:
        batches = raw_stream.map_in_order(drawn, noise).rebatch(
            setting.batch_size, drop_remainder=True
        )
    else:
        images = raw_stream.map_in_order(drawn.unbatch(), noise)
        batches = images.batch(setting.batch_size, drop_remainder=True)
    return raw_stream.finish(batches)


def measure(stream: tf.data.Dataset, batch_size: int) -> Rates:
    """Return a stream's images a second by both clocks."""
    iterator = iter(stream)
    return pipeline_peers.rate(
        lambda: next(iterator), batch_size, flags.FLAGS.seconds
    )


def peer_rates(
    setting: Setting, peer: str, pattern: str
) -> dict[str, Rates] | str:
    """Return a peer's rates, or why there are none."""
    python = sys.executable
    if ENVIRONMENTS[peer]:
        python = os.path.join(
            flags.FLAGS.peers, ENVIRONMENTS[peer], "bin", "python"
        )
        if not os.path.exists(python):
            return f"no environment: {python} is missing"
    finished = subprocess.run(
        [
            python,
            os.path.abspath(pipeline_peers.__file__),
            f"--peer={peer}",
            f"--files={pattern}",
            f"--size={setting.size}",
            f"--magnitude={setting.policy.magnitude}",
            f"--batch_size={setting.batch_size}",
            f"--seconds={flags.FLAGS.seconds}",
        ],
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or ["no message"]
        return f"failed: {lines[-1]}"
    return json.loads(finished.stdout.strip().splitlines()[-1])


def compare(setting: Setting, directory: str) -> dict[str, object]:
    """Return all rates and ratios at one size."""
    pattern = write_pictures(setting, directory)
    shard_set = write_shards(setting, pattern)
    samples: dict[str, list[Rates]] = {}
    missing: dict[str, str] = {}

    def note(name: str, value: Rates) -> None:
        samples.setdefault(name, []).append(value)
        print(
            f"{setting.name:14s} {name:32s} {value[0]:9.0f}/s "
            f"{value[1]:9.0f}/s of processor time",
            flush=True,
        )

    wanted = flags.FLAGS.only or ["ours", *ENVIRONMENTS]
    for _ in range(flags.FLAGS.rounds):
        if "ours" in wanted:
            for name, value in our_rates(setting, shard_set).items():
                note(name, value)
        for peer in ENVIRONMENTS:
            if peer not in wanted or peer in missing:
                continue
            found = peer_rates(setting, peer, pattern)
            if isinstance(found, str):
                missing[peer] = found
                print(f"{setting.name:14s} {peer}: {found}", flush=True)
                continue
            note(peer, found["with_decoding"])
            if "without" in found:
                note(f"{peer}_without_decoding", found["without"])
    by_clock, by_processor = (
        {
            name: round(statistics.median(pair[i] for pair in pairs), 1)
            for name, pairs in samples.items()
        }
        for i in range(2)
    )
    return {
        "rates": by_clock,
        **ratios(by_clock),
        "by_processor_time": {"rates": by_processor, **ratios(by_processor)},
        "missing": missing,
    }


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """Return ours over the fastest peer and over decoding alone."""
    with_decoding = [rates[peer] for peer in ENVIRONMENTS if peer in rates]
    without = [
        rates[f"{peer}_without_decoding"]
        for peer in ENVIRONMENTS
        if f"{peer}_without_decoding" in rates
    ]
    found = {}
    if "ours" in rates:
        found["ours_over_decode_only"] = rates["ours"] / rates["decode_only"]
        if with_decoding:
            found["ours_over_best_peer"] = rates["ours"] / max(with_decoding)
        if without:
            ours = rates["ours_without_decoding"]
            found["augment_only_over_best_peer"] = ours / max(without)
    return {name: round(value, 3) for name, value in found.items()}


def main(_: list[str]) -> None:
    """Measure both sizes and print one JSON object."""
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as directory:
        found = {s.name: compare(s, directory) for s in settings()}
    loads.append(os.getloadavg()[0])
    large, small = found["imagenet_224"], found["svhn_32"]
    print(json.dumps({**large, "svhn_32": small, "load_before_after": loads}))


if __name__ == "__main__":
    app.run(main)
