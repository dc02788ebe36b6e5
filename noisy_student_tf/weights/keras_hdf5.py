"""HDF5 files of Keras: `.h5` of Keras 2 and `.weights.h5` of Keras 3.

Variables are called `layer/weight` here, as in keras.applications. Keras 3
numbers layers by their class and weights by their order, and has the layer's
name, since some version, as an attribute beside them.
"""

import io
import re
import zipfile
from collections.abc import Mapping

import h5py
import numpy as np

from noisy_student_tf import files
from noisy_student_tf.weights import keras_order, names, weight_file

MAGIC = b"\x89HDF\r\n\x1a\n"

_CLASSIFIER = names.KERAS.outside[names.CLASSIFIER]
_STATISTICS = ("mean", "variance", "count")
_STATISTIC = re.compile(r"normalization(_\d+)?/(mean|variance|count)")
# Weights of a layer in the order of Keras 3, by the layer's class.
WEIGHTS = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
    "normalization": _STATISTICS,
}
# Of a `.keras` archive.
_MEMBER = "model.weights.h5"
# Of a whole saved model.
_OPTIMIZERS = ("optimizer_weights/", "optimizer/")

# keras.applications divides once more by the root of what its released files
# hold as the variance of normalization: they hold the deviation.
_RELEASED_VARIANCE = (0.229, 0.224, 0.225)

Arrays = dict[str, np.ndarray]


def open_archive(path: str) -> weight_file.WeightFile | None:
    """Open the weights in a `.keras` archive; None if it is another one.

    Raises:
        ValueError: See `open_file`.
    """
    content = io.BytesIO(files.read_bytes(path))
    if not zipfile.is_zipfile(content):
        return None
    with zipfile.ZipFile(content) as archive:
        if _MEMBER not in archive.namelist():
            return None
        return open_file(path, archive.read(_MEMBER))


def open_file(
    path: str, content: bytes | None = None
) -> weight_file.WeightFile:
    """Open an HDF5 file of either Keras.

    Args:
        path: Of the file, or of an archive that holds it.
        content: Of the file; None: read from the path.

    Raises:
        ValueError: It cannot be read, or holds no EfficientNet.
    """
    try:
        content = files.read_bytes(path) if content is None else content
        with h5py.File(io.BytesIO(content), "r") as file:
            datasets, layer_names = _read(file)
            text = file.attrs.get(weight_file.SPEC_KEY)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path}: no readable HDF5 file ({error}). It is truncated or "
            "damaged: copy it again."
        ) from error
    if "classifier/kernel" in datasets and "head_norm/gamma" in datasets:
        raise ValueError(
            f"{path}: this is a model's file of this project already. Use the "
            "directory that it lies in, such as --model.initial_weights=DIR."
        )
    is_numbered = any("/vars/" in name for name in datasets)
    if is_numbered:
        arrays = _numbered(datasets, layer_names, path)
    else:
        arrays = _named(datasets)
    if "stem_conv/kernel" not in arrays:
        some = ", ".join(sorted(arrays)[:3]) or "no arrays at all"
        raise ValueError(
            f"{path}: no EfficientNet of keras.applications: there is no "
            f"stem_conv/kernel, but {some}."
        )
    # Its layer has no name of its own, and Keras may have numbered it.
    statistics = {
        name: arrays.pop(name)
        for name in list(arrays)
        if _STATISTIC.fullmatch(name)
    }
    return weight_file.of_arrays(
        _name_classifier(arrays),
        path=path,
        format=f"HDF5 of Keras {3 if is_numbered else 2}",
        naming=names.KERAS,
        hints=weight_file.hints_of_text(text, path)
        if text
        else _hints(path, statistics),
    )


def _read(file: h5py.File) -> tuple[Arrays, dict[str, str]]:
    """Return all arrays by path, and the names beside Keras 3's layers."""
    datasets: Arrays = {}
    layer_names: dict[str, str] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        name = name.removeprefix("model_weights/")
        if name.startswith(_OPTIMIZERS):
            return
        if isinstance(node, h5py.Dataset):
            datasets[name] = node[()]
        elif "name" in node.attrs and name.endswith("/vars"):
            layer_names[name.removesuffix("/vars")] = str(node.attrs["name"])

    file.visititems(visit)
    return datasets, layer_names


def _named(datasets: Arrays) -> Arrays:
    """Return arrays of Keras 2, `.../stem_conv/kernel:0`, by short names."""
    arrays = {}
    for name, array in datasets.items():
        layer, weight = name.split("/")[-2:]
        weight = weight.partition(":")[0]
        if layer.endswith("dwconv") and weight == "kernel":
            weight = "depthwise_kernel"
        arrays[f"{layer}/{weight}"] = array
    return arrays


def _numbered(
    datasets: Arrays, layer_names: Mapping[str, str], path: str
) -> Arrays:
    """Return arrays of Keras 3, `layers/conv2d_3/vars/0`, by short names."""
    layers = sorted({name.rpartition("/vars/")[0] for name in datasets})
    layers = [layer for layer in layers if _class_of(layer) in WEIGHTS]
    if any(layer not in layer_names for layer in layers):
        layer_names = keras_order.name_layers(layers, path)
    arrays = {}
    for name, array in datasets.items():
        layer, _, index = name.rpartition("/vars/")
        weights = WEIGHTS.get(_class_of(layer), ())
        if not weights and layer.endswith("seed_generator"):
            continue
        weight = index
        if index.isdigit() and int(index) < len(weights):
            weight = weights[int(index)]
        arrays[f"{layer_names.get(layer, layer)}/{weight}"] = array
    return arrays


def _class_of(layer: str) -> str:
    return re.sub(r"_\d+$", "", layer.rpartition("/")[2])


def _name_classifier(arrays: Arrays) -> Arrays:
    """Call the only dense layer what keras.applications calls it."""
    dense = [
        name.removesuffix("/kernel")
        for name, array in arrays.items()
        if name.endswith("/kernel") and array.ndim == 2
    ]
    if len(dense) != 1:
        return arrays
    return {
        f"{_CLASSIFIER}/{name.removeprefix(f'{dense[0]}/')}"
        if name.startswith(f"{dense[0]}/")
        else name: array
        for name, array in arrays.items()
    }


def _hints(path: str, statistics: Arrays) -> weight_file.Hints:
    """Return the images' normalization, which Keras keeps as weights."""
    values = {
        name.rpartition("/")[2]: np.ravel(array)
        for name, array in statistics.items()
    }
    if not {"mean", "variance"} <= values.keys():
        return weight_file.Hints()
    mean, variance = values["mean"], values["variance"]
    origin = f"{path}, normalization"
    deviation = np.sqrt(variance)
    if np.allclose(variance, _RELEASED_VARIANCE, atol=1e-6):
        deviation = variance
        origin += ", whose variance holds the deviation as in released files"
    return weight_file.Hints(
        origin=origin,
        mean_rgb=tuple(255.0 * float(value) for value in mean),
        std_rgb=tuple(255.0 * float(value) for value in deviation),
    )
