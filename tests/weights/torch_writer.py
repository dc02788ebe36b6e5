"""Files as `torch.save` writes them, written without PyTorch.

Arrays become tensors. A `View` describes a tensor as it likes.
"""

import collections
import io
import pickle
import sys
import types
import zipfile
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

_NAMES = {
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "uint8": "Byte",
}


class View(NamedTuple):
    storage: np.ndarray
    offset: Any
    shape: Any
    strides: Any
    count: Any = None


class _Storage(NamedTuple):
    key: str
    array: np.ndarray
    count: Any


def _in_module(module, kind, name):
    """Make a class or a function that pickles as that of a module."""
    found = kind(name, (), {}) if kind is type else (lambda *arguments: None)
    found.__module__, found.__qualname__ = module, name
    return found


_UTILS = types.ModuleType("torch._utils")
_UTILS._rebuild_tensor_v2 = _in_module(
    "torch._utils", types.FunctionType, "_rebuild_tensor_v2"
)
_TORCH = types.ModuleType("torch")
_TORCH._utils = _UTILS
for _name in _NAMES.values():
    _storage_class = _in_module("torch", type, f"{_name}Storage")
    setattr(_TORCH, f"{_name}Storage", _storage_class)
_MODULES = {"torch": _TORCH, "torch._utils": _UTILS}


class _Pickler(pickle.Pickler):
    def __init__(self, stream, protocol, views):
        super().__init__(stream, protocol)
        self.storages = {}
        self._views = views

    def reducer_override(self, obj):
        if isinstance(obj, np.ndarray):
            strides = [stride // obj.itemsize for stride in obj.strides]
            obj = View(obj, 0, obj.shape, tuple(strides))
        elif not isinstance(obj, View):
            return NotImplemented
        key = str(len(self.storages))
        count = obj.storage.size if obj.count is None else obj.count
        storage = _Storage(key, obj.storage, count)
        self.storages[key] = storage
        hooks = collections.OrderedDict()
        return _UTILS._rebuild_tensor_v2, (
            storage, obj.offset, obj.shape, obj.strides, False, hooks,
        )  # fmt: skip

    def persistent_id(self, obj):
        if not isinstance(obj, _Storage):
            return None
        name = _NAMES[obj.array.dtype.name]
        storage_class = getattr(_TORCH, f"{name}Storage")
        identifier = ("storage", storage_class, obj.key, "cpu", obj.count)
        return identifier if not self._views else (*identifier, None)


def _pickle(content, *, protocol, views):
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol, views)
    with mock.patch.dict(sys.modules, _MODULES):
        pickler.dump(content)
    return stream.getvalue(), pickler.storages


def archive(content, *, protocol=2, **changes):
    """Return an archive; `changes` are other bytes of its entries."""
    program, storages = _pickle(content, protocol=protocol, views=False)
    entries = {"data.pkl": program, "byteorder": b"little"}
    for key, storage in storages.items():
        entries[f"data/{key}"] = storage.array.tobytes()
    entries |= {"version": b"3\n", **changes}
    return pack({f"model/{name}": data for name, data in entries.items()})


def pack(entries, compression=zipfile.ZIP_STORED):
    """Return a ZIP archive of bytes by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return buffer.getvalue()


def stream(content, *, version=1001):
    """Return the stream that PyTorch wrote before archives."""
    machine = {"protocol_version": version, "little_endian": True}
    program, storages = _pickle(content, protocol=2, views=True)
    parts = [
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        pickle.dumps(version, protocol=2),
        pickle.dumps(machine, protocol=2),
        program,
        pickle.dumps(sorted(storages), protocol=2),
    ]
    for key in sorted(storages):
        parts.append(storages[key].array.size.to_bytes(8, "little"))
        parts.append(storages[key].array.tobytes())
    return b"".join(parts)
