"""One peer's input pipeline, timed; `input_pipeline` runs it in its own Python.

It imports nothing of this project, since the peers' environments lack it.
"""

import argparse
import glob
import io
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

NUM_OPS = 2
# What the settings of small images do after the policy.
PAD_PIXELS, CUTOUT_PIXELS = 4, 8
WARM_UP_BATCHES = 3


def rate(next_batch, batch_size, seconds):
    """Return images a second, and images a second of processor time.

    The second depends less on what else the machine does.
    """
    for _ in range(WARM_UP_BATCHES):
        next_batch()
    begin, used, count = time.perf_counter(), processor_seconds(), 0
    while time.perf_counter() - begin < seconds:
        next_batch()
        count += batch_size
    used = max(processor_seconds() - used, 1e-9)
    return count / (time.perf_counter() - begin), count / used


def processor_seconds():
    """Return what this process and its children have used (Linux)."""
    total = time.process_time()
    for path in glob.glob("/proc/self/task/*/children"):
        with open(path) as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks = int(fields[11]) + int(fields[12])
            total += ticks / os.sysconf("SC_CLK_TCK")
    return total


def read_all(pattern):
    """Return the contents of all files that match a pattern."""
    contents = []
    for path in sorted(glob.glob(pattern)):
        with open(path, "rb") as file:
            contents.append(file.read())
    return contents


def make_decode(size):
    """Return what makes a flipped crop of a JPEG, or decodes a small PNG."""
    import tensorflow as tf

    def decode_crop(record):
        box = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(record),
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([box[0][:2], box[1][:2]], 0)
        image = tf.image.decode_and_crop_jpeg(record, window, channels=3)
        image = tf.image.resize(image, [size, size], "bicubic")
        image = tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)
        image = tf.ensure_shape(image, [size, size, 3])
        return tf.image.random_flip_left_right(image)

    def decode_whole(record):
        return tf.ensure_shape(tf.io.decode_png(record, 3), [size, size, 3])

    return decode_crop if size >= 64 else decode_whole


def make_shift_and_cover(size):
    """Return what shifts a small picture and covers a square of it."""
    import tensorflow as tf

    def shift_and_cover(image):
        image = tf.cast(image, tf.uint8)
        ends = tf.random.uniform([2], 0, size, tf.int32)
        rows, columns = (
            tf.abs(tf.range(size) - end) < CUTOUT_PIXELS
            for end in tf.unstack(ends)
        )
        is_covered = rows[:, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis]
        image = tf.where(is_covered, tf.constant(128, tf.uint8), image)
        border = [PAD_PIXELS, PAD_PIXELS]
        image = tf.pad(image, [border, border, [0, 0]], "REFLECT")
        return tf.image.random_crop(image, [size, size, 3])

    return shift_and_cover


def tensorflow_rates(arguments, augment, per_batch=False):
    """Return rates with and without decoding of a tf.data pipeline."""
    import tensorflow as tf

    size, batch_size = arguments.size, arguments.batch_size
    contents = read_all(arguments.files)
    encoded = tf.constant(contents)

    def measure(images, finish=None):
        if per_batch:
            batches = images.batch(batch_size, drop_remainder=True)
            batches = batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
        else:
            images = images.map(
                lambda image: (
                    finish(augment(image)) if finish else augment(image)
                ),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            batches = images.batch(batch_size, drop_remainder=True)
        iterator = iter(batches.prefetch(tf.data.AUTOTUNE))
        return rate(lambda: next(iterator), batch_size, arguments.seconds)

    records = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    decode = make_decode(size)
    decoded = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    held = tf.stack(list(records.take(len(contents)).map(decode)))
    held = tf.data.Dataset.from_tensor_slices(held).repeat()
    finish = make_shift_and_cover(size) if size < 64 else None
    return {"with_decoding": measure(decoded, finish), "without": measure(held)}


def model_garden(arguments):
    from official.vision.ops import augment

    policy = augment.RandAugment(
        num_layers=NUM_OPS, magnitude=arguments.magnitude
    )
    return tensorflow_rates(arguments, policy.distort)


def keras_cv(arguments):
    import keras_cv
    import tensorflow as tf

    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255),
        augmentations_per_image=NUM_OPS,
        # Its strength ends at 1, the others' magnitude 10.
        magnitude=min(arguments.magnitude / 10, 1.0),
    )
    return tensorflow_rates(
        arguments, lambda image: layer(tf.cast(image, tf.float32))
    )


def keras_layer(arguments):
    import keras

    layer = keras.layers.RandAugment(
        value_range=(0, 255),
        num_ops=NUM_OPS,
        factor=min(arguments.magnitude / 10, 1.0),
    )
    return tensorflow_rates(arguments, layer, per_batch=True)


def small_transform(policy, size):
    """Return timm's policy, a square that is covered, and a pad crop."""
    import numpy as np
    import PIL.Image
    from torchvision import transforms

    shift = transforms.RandomCrop(
        size, padding=PAD_PIXELS, padding_mode="reflect"
    )

    def transform(image):
        pixels = np.array(policy(image))
        row, column = np.random.randint(size, size=2)
        pixels[
            max(row - CUTOUT_PIXELS, 0) : row + CUTOUT_PIXELS,
            max(column - CUTOUT_PIXELS, 0) : column + CUTOUT_PIXELS,
        ] = 128
        return shift(PIL.Image.fromarray(pixels))

    return transform


def timm(arguments):
    import numpy as np
    import peer_torchvision  # Beside this file, which is run as a script.
    import PIL.Image
    import torch
    import torch.utils.data

    schemas = peer_torchvision.import_torchvision()  # noqa: F841  Lives on.
    from timm.data import auto_augment, create_transform

    name = f"rand-m{arguments.magnitude:g}-n{NUM_OPS}"
    contents = read_all(arguments.files)
    if arguments.size >= 64:
        transform = create_transform(
            arguments.size,
            is_training=True,
            auto_augment=name,
            color_jitter=None,
            use_prefetcher=True,
        )
    else:
        transform = small_transform(
            auto_augment.rand_augment_transform(name, {}), arguments.size
        )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return 10**7

        def __getitem__(self, index):
            content = io.BytesIO(contents[index % len(contents)])
            image = PIL.Image.open(content).convert("RGB")
            return torch.from_numpy(np.array(transform(image)))

    loader = iter(
        torch.utils.data.DataLoader(
            Pictures(), arguments.batch_size, num_workers=arguments.workers
        )
    )
    found = rate(lambda: next(loader), arguments.batch_size, arguments.seconds)
    return {"with_decoding": found}


PEERS = {
    "model_garden": model_garden,
    "keras_cv": keras_cv,
    "keras_layer": keras_layer,
    "timm": timm,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--files", required=True, help="Glob of pictures.")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--magnitude", type=float, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(PEERS[arguments.peer](arguments)))


if __name__ == "__main__":
    main()
