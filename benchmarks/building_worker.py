"""One contender of `building`: writes a folder's pictures, and is timed.

Peers import nothing of this project.
"""

import json
import os
import pathlib
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NUM_SHARDS = 8


def list_files(source: str) -> list[tuple[str, int]]:
    """Return (path, label) of all pictures."""
    folders = sorted(pathlib.Path(source).iterdir())
    return [
        (str(path), label)
        for label, folder in enumerate(folders)
        for path in sorted(folder.iterdir())
    ]


def build_labeled(source: str, directory: str) -> Callable[[], None]:
    """Return our builder of labeled shards."""
    from data_prep import build_labeled as builder

    data = _settings(source)
    return lambda: builder.build(data=data, directory=f"{directory}/labeled")


def build_labeled_on_one_core(
    source: str, directory: str
) -> Callable[[], None]:
    """Return the same, kept to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return build_labeled(source, directory)


def find_duplicates(source: str, directory: str) -> Callable[[], None]:
    """Return the search for unlabeled images that look like labeled ones."""
    from data_prep import find_duplicates as search
    from noisy_student_tf import configs

    build_unlabeled(source, directory)()
    return lambda: search.find(
        unlabeled_directory=f"{directory}/unlabeled",
        labeled_directory=f"{directory}/labeled",
        directory=f"{directory}/duplicates",
        labeling=configs.LabelingConfig(),
    )


def build_unlabeled(source: str, directory: str) -> Callable[[], None]:
    """Return our builder of unlabeled shards, beside an image of a class."""
    import dataclasses

    from data_prep import build_labeled as labeled_builder
    from data_prep import build_unlabeled as builder

    data = dataclasses.replace(
        _settings(source),
        labeled_per_class=1,
        evaluation_fraction=0.0,
        validation_fraction=0.0,
    )
    labeled = f"{directory}/labeled"
    labeled_builder.build(data=data, directory=labeled)
    return lambda: builder.build(
        data=data,
        directory=f"{directory}/unlabeled",
        labeled_directory=labeled,
    )


def _settings(source: str):
    import tensorflow as tf

    from noisy_student_tf import configs

    # Devices are looked for before the clock starts, as in the others.
    tf.constant(0)
    return configs.DataConfig(labeled=f"folder:{source}")


def copy(source: str, directory: str) -> Callable[[], None]:
    """Return what copies the bytes into TFRecords, and nothing else."""
    import tensorflow as tf

    def write() -> None:
        files = list_files(source)
        for shard in range(NUM_SHARDS):
            path = f"{directory}/{shard}.tfrecord"
            with tf.io.TFRecordWriter(path) as writer:
                for name, label in files[shard::NUM_SHARDS]:
                    with open(name, "rb") as file:
                        content = file.read()
                    writer.write(_example(tf, content, label))

    return write


def _example(tf, content: bytes, label: int) -> bytes:
    feature = {
        "image": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[content])
        ),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    features = tf.train.Features(feature=feature)
    return tf.train.Example(features=features).SerializeToString()


def decode(source: str, _: str) -> Callable[[], None]:
    """Return what reads and decodes all files, and writes nothing."""
    import tensorflow as tf

    def run() -> None:
        paths = [path for path, _ in list_files(source)]
        sizes = tf.data.Dataset.from_tensor_slices(paths).map(
            lambda path: tf.size(
                tf.io.decode_image(
                    tf.io.read_file(path), 3, expand_animations=False
                )
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        sizes.reduce(0, lambda total, _: total + 1).numpy()

    return run


def tfds(source: str, directory: str) -> Callable[[], None]:
    """Return TFDS's builder of a folder; it copies the files' bytes."""
    import tensorflow_datasets

    class Folder(tensorflow_datasets.core.GeneratorBasedBuilder):
        """A folder a class."""

        VERSION = tensorflow_datasets.core.Version("1.0.0")
        # To find files beside a module of a package, TFDS needs one more.
        __module__ = "folder"

        def _info(self):
            features = tensorflow_datasets.features
            names = sorted(path.name for path in pathlib.Path(source).iterdir())
            return tensorflow_datasets.core.DatasetInfo(
                builder=self,
                features=features.FeaturesDict(
                    {
                        "image": features.Image(),
                        "label": features.ClassLabel(names=names),
                    }
                ),
            )

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for path, label in list_files(source):
                yield path, {"image": path, "label": label}

    builder = Folder(data_dir=directory)
    return lambda: builder.download_and_prepare()


def webdataset(source: str, directory: str) -> Callable[[], None]:
    """Return webdataset's writer of tars; it copies the files' bytes."""
    import webdataset as package

    def write() -> None:
        files = list_files(source)
        pattern = f"{directory}/shard-%06d.tar"
        size = -(-len(files) // NUM_SHARDS)
        with package.ShardWriter(pattern, maxcount=size, verbose=0) as sink:
            for index, (path, label) in enumerate(files):
                with open(path, "rb") as file:
                    content = file.read()
                suffix = path.rpartition(".")[2]
                sink.write(
                    {"__key__": f"{index:08d}", suffix: content, "cls": label}
                )

    return write


def processor_seconds() -> float:
    """Return what this process and all below it have used (Linux)."""
    ticks = os.sysconf("SC_CLK_TCK")
    waiting, total = [os.getpid()], 0.0
    while waiting:
        process = waiting.pop()
        try:
            text = pathlib.Path(f"/proc/{process}/stat").read_text()
            tasks = list(pathlib.Path(f"/proc/{process}/task").iterdir())
            for task in tasks:
                waiting += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue
        # Own, and those of children that have ended.
        fields = text.rpartition(")")[2].split()[11:15]
        total += sum(map(int, fields)) / ticks
    return total


CONTENDERS = {
    function.__name__: function
    for function in (
        build_labeled,
        build_labeled_on_one_core,
        build_unlabeled,
        copy,
        decode,
        find_duplicates,
        tfds,
        webdataset,
    )
}


def main(name: str, source: str, directory: str) -> None:
    """Time a contender, and print what it took."""
    run = CONTENDERS[name](source, directory)
    num_images = len(list_files(source))
    used, started = processor_seconds(), time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    used = processor_seconds() - used
    print(
        json.dumps(
            {
                "num_images": num_images,
                "seconds": seconds,
                "processor_seconds": used,
                "images_per_second": num_images / seconds,
                "images_per_processor_second": num_images / max(used, 1e-9),
            }
        )
    )
