"""Writing HDF5 files that keras.applications' EfficientNets load.

Public builders exist for B0 to B7 alone; files of other widths and depths are
arranged alike.
"""

import io
from collections.abc import Mapping

import h5py
import keras
import numpy as np

from noisy_student_tf import files
from noisy_student_tf.model import efficientnet, specs
from noisy_student_tf.weights import keras_hdf5, keras_order, weight_file

Layers = list[tuple[str, str, dict[str, np.ndarray]]]


def write(
    path: str, arrays: Mapping[str, np.ndarray], spec: specs.ModelSpec
) -> None:
    """Write `.weights.h5` of Keras 3 or, by its name, `.h5` of Keras 2.

    Args:
        path: Local or remote.
        arrays: Variables by the names of keras.applications.
        spec: The model; images' normalization is written as weights.
    """
    layers = _layers(arrays, spec)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if path.endswith(".weights.h5"):
            _write_numbered(file, layers)
        else:
            _write_named(file, layers)
        file.attrs[weight_file.SPEC_KEY] = weight_file.spec_to_text(spec)
    files.write_bytes(path, buffer.getvalue())


def _layers(arrays: Mapping[str, np.ndarray], spec: specs.ModelSpec) -> Layers:
    """Return class, name and weights of each layer, first to last."""
    std = np.asarray(spec.std_rgb, np.float32) / 255.0
    statistics = {
        "normalization/mean": np.asarray(spec.mean_rgb, np.float32) / 255.0,
        "normalization/variance": std**2,
        "normalization/count": np.zeros((), np.int32),
    }
    arrays = {**arrays, **statistics}
    repeats = efficientnet.stage_repeats(spec.depth)
    return [
        (
            kind,
            layer,
            {
                weight: arrays[f"{layer}/{weight}"]
                for weight in keras_hdf5.WEIGHTS[kind]
                if f"{layer}/{weight}" in arrays
            },
        )
        for kind, layer in keras_order.layers_in_order(repeats)
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
        names = [f"{layer}/{weight}:0" for weight in weights]
        group.attrs["weight_names"] = [name.encode() for name in names]
        for name, array in zip(names, weights.values(), strict=True):
            group.create_dataset(name, data=array)
