"""HDF5 files of Keras: `.h5` of Keras 2 and `.weights.h5` of Keras 3.

Variables are called `layer/weight` here, as in keras.applications. Keras 3
numbers layers by their class and weights by their order, and has the layer's
name, since some version, as an attribute beside them.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping

import h5py
import keras
import numpy as np

from noisy_student_tf import files
from noisy_student_tf.model import efficientnet_variants, specs
from noisy_student_tf.weights import multipliers, names, weight_file

MAGIC = b"\x89HDF\r\n\x1a\n"

_CLASSIFIER = names.KERAS.outside[names.CLASSIFIER]
_STATISTICS = ("mean", "variance", "count")
_STATISTIC = re.compile(r"normalization(_\d+)?/(mean|variance|count)")
# Weights of a layer in the order of Keras 3, by the layer's class.
_WEIGHTS = {
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
Layers = list[tuple[str, str, dict[str, np.ndarray]]]


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
        library="keras.applications",
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
    layers = [layer for layer in layers if _class_of(layer) in _WEIGHTS]
    if any(layer not in layer_names for layer in layers):
        layer_names = _name_layers(layers, path)
    arrays = {}
    for name, array in datasets.items():
        layer, _, index = name.rpartition("/vars/")
        weights = _WEIGHTS.get(_class_of(layer), ())
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


def _layers_in_order(repeats: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield (class, name) of every layer with weights, as Keras 3 counts.

    Args:
        repeats: Blocks of each stage.
    """
    yield "normalization", "normalization"
    yield "conv2d", "stem_conv"
    yield "batch_normalization", "stem_bn"
    for stage, count in enumerate(repeats):
        for repeat in range(count):
            prefix = names.KERAS.block.format(
                number=stage + 1, letter=chr(ord("a") + repeat)
            )
            for layer, name in names.KERAS.plain.items():
                if stage or not layer.startswith("expand_"):
                    kind = "batch_normalization"
                    if not layer.endswith("norm"):
                        is_depthwise = layer == "depthwise_conv"
                        kind = "depthwise_conv2d" if is_depthwise else "conv2d"
                    yield kind, prefix + name
    yield "conv2d", "top_conv"
    yield "batch_normalization", "top_bn"
    yield "dense", "predictions"


def _name_layers(layers: list[str], path: str) -> dict[str, str]:
    """Name layers that older versions of Keras 3 only numbered.

    Args:
        layers: `layers/conv2d_3` and its like, all that have weights.
        path: Of their file, for errors.

    Returns:
        Layer -> its name in keras.applications.
    """
    numbered: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        number = re.search(r"_(\d+)$", layer)
        position = int(number[1]) if number else 0
        numbered.setdefault(_class_of(layer), []).append((position, layer))
    num_blocks = len(numbered.get("depthwise_conv2d", ()))
    repeats = multipliers.repeats_of_total(
        num_blocks, efficientnet_variants.EFFICIENTNET
    )
    if repeats is None:
        raise ValueError(
            f"{path}: no EfficientNet of keras.applications: layers have no "
            f"names, and {num_blocks} depthwise convolutions are those of no "
            "depth."
        )
    found = {kind: iter(sorted(pairs)) for kind, pairs in numbered.items()}
    result = {}
    for kind, name in _layers_in_order(repeats):
        for _, layer in found.get(kind, iter(())):
            result[layer] = name
            break
    return result


def write(
    path: str, arrays: Mapping[str, np.ndarray], spec: specs.ModelSpec
) -> None:
    """Write `.weights.h5` of Keras 3 or, by its name, `.h5` of Keras 2.

    Args:
        path: Local or remote.
        arrays: Variables by the names of keras.applications.
        spec: The model; images' normalization is written as weights.
    """
    layers = _with_weights(arrays, spec)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if path.endswith(".weights.h5"):
            _write_numbered(file, layers)
        else:
            _write_named(file, layers)
        file.attrs[weight_file.SPEC_KEY] = weight_file.spec_to_text(spec)
    files.write_bytes(path, buffer.getvalue())


def _with_weights(
    arrays: Mapping[str, np.ndarray], spec: specs.ModelSpec
) -> Layers:
    """Return class, name and weights of each layer, first to last."""
    std = np.asarray(spec.std_rgb, np.float32) / 255.0
    statistics = {
        "normalization/mean": np.asarray(spec.mean_rgb, np.float32) / 255.0,
        "normalization/variance": std**2,
        "normalization/count": np.zeros((), np.int32),
    }
    arrays = {**arrays, **statistics}
    design = efficientnet_variants.design_of(spec)
    return [
        (
            kind,
            layer,
            {
                weight: arrays[f"{layer}/{weight}"]
                for weight in _WEIGHTS[kind]
                if f"{layer}/{weight}" in arrays
            },
        )
        for kind, layer in _layers_in_order(design.repeats(spec.depth))
    ]


def _write_numbered(file: h5py.File, layers: Layers) -> None:
    counts: dict[str, int] = {}
    for kind, layer, weights in layers:
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        group = f"layers/{kind}_{number}" if number else f"layers/{kind}"
        variables = file.create_group(f"{group}/vars")
        variables.attrs["name"] = layer
        for position, array in enumerate(weights.values()):
            variables.create_dataset(str(position), data=array)
    file.create_group("vars")


def _write_named(file: h5py.File, layers: Layers) -> None:
    file.attrs["layer_names"] = [layer.encode() for _, layer, _ in layers]
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = keras.__version__.encode()
    for _, layer, weights in layers:
        group = file.create_group(layer)
        paths = [f"{layer}/{weight}:0" for weight in weights]
        group.attrs["weight_names"] = [path.encode() for path in paths]
        for path, array in zip(paths, weights.values(), strict=True):
            group.create_dataset(path, data=array)
