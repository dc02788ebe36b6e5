"""What a run's last network says of some images: features and logits.

They are computed once and kept: `review/outputs/outputs.parquet`, with a
manifest that names the network.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tqdm

from noisy_student_tf import files, workdirs
from noisy_student_tf.model import folding, saved, specs
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.records import lookups, parquet_files, schema, shards
from noisy_student_tf.review import places, stored

_FILE = "outputs.parquet"
_COLUMNS = ("image_id", "features", "logits")


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a network says of images.

    Attributes:
        ids: uint8 [num_images, 16].
        features: float16 [num_images, num_features], what the classifier sees.
        logits: float32 [num_images, num_classes].
    """

    ids: np.ndarray
    features: np.ndarray
    logits: np.ndarray

    def rows(self, ids: Sequence[bytes]) -> np.ndarray:
        """Return where images are: int64 [num_ids]; -1 where they are not."""
        order = np.argsort(lookups.sortable(self.ids), kind="stable")
        lookup = lookups.Lookup(
            lookups.sortable(self.ids)[order], order, unknown=-1
        )
        wanted = np.frombuffer(b"".join(ids), np.uint8)
        return lookup.of(wanted.reshape(-1, schema.ID_BYTES))

    def take(self, rows: np.ndarray) -> "Outputs":
        """Return some of the images."""
        return Outputs(self.ids[rows], self.features[rows], self.logits[rows])


def compute(
    workdir: workdirs.Workdir,
    model_folder: str,
    wanted: Sequence[places.Place],
    *,
    batch_size: int,
) -> Outputs:
    """Return what a network says of images, computed where it is not kept.

    Args:
        workdir: Of the run.
        model_folder: Of the network, in the run's directory.
        wanted: The images.
        batch_size: Images that are computed at once.

    Returns:
        In the order of `wanted`.

    Raises:
        FileNotFoundError, ValueError: An image or the network cannot be read.
    """
    directory = files.join(workdir.review, "outputs")
    fingerprint = shards.manifest_fingerprint(workdir.folder(model_folder))
    ids = [place.image_id for place in wanted]
    kept = _read(directory, fingerprint)
    missing = wanted
    if kept:
        rows = kept.rows(ids)
        missing = [
            place for place, row in zip(wanted, rows, strict=True) if row < 0
        ]
    if missing:
        made = _compute(workdir, model_folder, missing, batch_size)
        kept = _join(kept, made) if kept else made
        kept = kept.take(kept.rows(ids))
        _write(directory, kept, model=model_folder, fingerprint=fingerprint)
    if not kept:
        raise ValueError("No images were given to be looked at.")
    return kept.take(kept.rows(ids))


def _join(one: Outputs, other: Outputs) -> Outputs:
    return Outputs(
        np.concatenate([one.ids, other.ids]),
        np.concatenate([one.features, other.features]),
        np.concatenate([one.logits, other.logits]),
    )


def _read(directory: str, fingerprint: str) -> Outputs | None:
    """Return what is kept of a network; None if nothing is."""
    if not shards.is_finished(directory):
        return None
    if shards.read_manifest(directory)["model_fingerprint"] != fingerprint:
        return None
    path = files.join(directory, _FILE)
    found = parquet_files.read_columns(path, _COLUMNS)
    return Outputs(
        parquet_files.image_ids(found["image_id"], path),
        parquet_files.fixed_lists(found["features"]),
        parquet_files.fixed_lists(found["logits"]),
    )


def _write(
    directory: str, outputs: Outputs, *, model: str, fingerprint: str
) -> None:
    files.make_directories(directory)
    # What is half-written belongs to no network.
    files.remove(files.join(directory, shards.MANIFEST))
    columns = [
        parquet_files.fixed_bytes_array(outputs.ids),
        parquet_files.fixed_lists_array(outputs.features),
        parquet_files.fixed_lists_array(outputs.logits),
    ]
    table = pa.table(columns, names=list(_COLUMNS))
    parquet_files.write_table(files.join(directory, _FILE), table)
    content = {
        "model": model,
        "model_fingerprint": fingerprint,
        "num_images": len(outputs.ids),
    }
    shards.write_manifest(directory, content)


def _compute(
    workdir: workdirs.Workdir,
    model_folder: str,
    wanted: Sequence[places.Place],
    batch_size: int,
) -> Outputs:
    model, spec = saved.load(workdir.folder(model_folder))
    folded = folding.fold(model)

    @tf.function(autograph=False)
    def look(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = folded.features(images)
        return tf.cast(features, tf.float16), folded.classifier(features)

    parts: list[tuple[np.ndarray, ...]] = []
    problems: list[Exception] = []
    with tqdm.tqdm(
        total=len(wanted),
        desc=f"{model_folder} looks",
        unit="images",
        disable=None,
    ) as progress:
        for batch in _stream(workdir, spec, wanted, batch_size, problems):
            valid = batch["is_valid"].numpy()
            found = [each.numpy()[valid] for each in look(batch["images"])]
            parts.append((batch["image_ids"].numpy()[valid], *found))
            progress.update(int(valid.sum()))
    if problems:
        raise problems[0]
    ids, features, logits = map(np.concatenate, zip(*parts, strict=True))
    joined = np.frombuffer(b"".join(ids.tolist()), np.uint8)
    return Outputs(joined.reshape(-1, schema.ID_BYTES), features, logits)


def _stream(
    workdir: workdirs.Workdir,
    spec: specs.ModelSpec,
    wanted: Sequence[places.Place],
    batch_size: int,
    problems: list[Exception],
) -> tf.data.Dataset:
    """Return images as the network is tested on them.

    A picture that cannot be read ends the stream, and `problems` gets why: as
    an error of the pipeline it would drown in its traceback.
    """
    pictures = stored.Pictures(workdir)

    def examples() -> Iterator[dict[str, Any]]:
        try:
            for place, encoded in pictures.read_all(wanted):
                yield {
                    "image": encoded,
                    "image_id": place.image_id,
                    "label": place.label,
                }
        except (ValueError, OSError) as error:
            problems.append(error)

    return eval_stream.make_encoded_stream(
        tf.data.Dataset.from_generator(
            examples,
            output_signature={
                "image": tf.TensorSpec([], tf.string),
                "image_id": tf.TensorSpec([], tf.string),
                "label": tf.TensorSpec([], tf.int64),
            },
        ),
        resolution=spec.resolution,
        batch_size=min(batch_size, len(wanted)),
        crop=decode.test_crop(spec.small_image_strides),
    )
