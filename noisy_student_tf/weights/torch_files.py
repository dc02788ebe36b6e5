"""Tensors in files of `torch.save`, read without PyTorch and without trust.

Such a file is a pickle of names and of places in storages, and the storages
behind it: as entries of a ZIP archive or, until 2020, in one stream. A pickle
is a program. This one may do no more than fill containers and describe
tensors; all else is refused by its name, and nothing of it is run.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from noisy_student_tf import files

# ZIP archives, and pickles of protocol 2 to 5.
MAGICS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))

# What pickles of data consist of. The others make objects of classes.
_DATA_OPERATIONS = """
PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE BININT BININT1
BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8
BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT
MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
"""
_OPERATIONS = frozenset(_DATA_OPERATIONS.split())
# How a stream begins.
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_VERSION = 1001


class _Type(NamedTuple):
    """A storage's class: no more than the type of its numbers."""

    dtype: np.dtype


class Storage(NamedTuple):
    """Numbers of one type, which tensors share.

    Attributes:
        dtype: Of each.
        size: How many.
        read: Reads them all.
    """

    dtype: np.dtype
    size: int
    read: Callable[[], bytes]


class Tensor(NamedTuple):
    """A part of a storage, which is read when numpy asks for it.

    Attributes:
        storage: Where its numbers are.
        offset: Of the first, in numbers.
        shape: As of an array.
        strides: As of an array, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Return a copy, of the storage's type if no other is asked for."""
        numbers = np.frombuffer(self.storage.read(), self.storage.dtype)
        strides = [numbers.itemsize * stride for stride in self.strides]
        array = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, strides, writeable=False
        )
        return array.astype(dtype or array.dtype)


FindStorage = Callable[[str, np.dtype, int], Storage]


def load(path: str) -> Any:
    """Return what a file holds: containers, numbers, texts and tensors.

    Tensors are instances of `Tensor`; an OrderedDict is a dict.

    Raises:
        ValueError: It is damaged, or its pickle does more than data needs.
            Reading a tensor may raise it, too.
    """
    content = files.read_bytes(path)
    return _checked(path, lambda: _load(path, content))


def _checked(path: str, read: Callable[[], Any]) -> Any:
    """Return what is read, or say of which file it could not be.

    Raises:
        ValueError: Whatever a damaged file trips over.
    """
    try:
        return read()
    except _Refused as error:
        reason = str(error)
    except Exception as error:
        reason = f"it is cut off or damaged ({type(error).__name__}: {error})"
    raise ValueError(
        f"{path}: refused, and nothing of it was run: {reason}. Copy it again, "
        "save model.state_dict() alone, or convert it to .safetensors where it "
        "is trusted."
    )


class _Refused(Exception):
    """Why a file is not read."""


def _load(path: str, content: bytes) -> Any:
    if content.startswith(MAGICS[0]):
        return _load_archive(path, zipfile.ZipFile(io.BytesIO(content)))
    return _load_stream(content)


def _load_archive(path: str, archive: zipfile.ZipFile) -> Any:
    """Read `ARCHIVE/data.pkl`; storages are entries `ARCHIVE/data/KEY`."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(entries) != len(archive.infolist()):
        raise _Refused("no archive of torch.save has other than one data.pkl")
    if any(entry.compress_type for entry in entries.values()):
        raise _Refused("no archive of torch.save is compressed")
    folder = pickles[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in entries and archive.read(order) != b"little":
        raise _Refused("its numbers are not little-endian")

    def find(key: str, dtype: np.dtype, count: int) -> Storage:
        name = f"{folder}data/{key}"
        if name not in entries:
            raise _Refused(f"the storage {name} is missing")
        size = entries[name].file_size
        if size != count * dtype.itemsize:
            raise _Refused(
                f"the storage {name} has {size} bytes, not {count} numbers of "
                f"{dtype.itemsize}"
            )
        return Storage(
            dtype, count, lambda: _checked(path, lambda: archive.read(name))
        )

    return _unpickle(io.BytesIO(archive.read(pickles[0])), find)


def _load_stream(content: bytes) -> Any:
    """Read magic, version, machine, the pickle, keys, and storages by them.

    A storage is its count in 8 bytes, and its numbers. The pickle says of
    which type they are, but not where they lie.
    """
    stream = io.BytesIO(content)
    if _unpickle(stream) != _STREAM_MAGIC:
        raise _Refused("it is a pickle, but not one of torch.save")
    version, machine = _unpickle(stream), _unpickle(stream)
    if version != _STREAM_VERSION or machine.get("little_endian") is not True:
        raise _Refused(f"it is of version {version}, or not little-endian")
    described: dict[str, Storage] = {}
    places: dict[str, int] = {}

    def find(key: str, dtype: np.dtype, count: int) -> Storage:
        def read() -> bytes:
            return content[places[key] :][: dtype.itemsize * count]

        storage = described.setdefault(key, Storage(dtype, count, read))
        if (storage.dtype, storage.size) != (dtype, count):
            raise _Refused(f"the storage {key} is described in two ways")
        return storage

    loaded = _unpickle(stream, find)
    for key in _unpickle(stream):
        dtype, count, _ = described[key]
        if int.from_bytes(stream.read(8), "little") != count:
            raise _Refused(f"the storage {key} does not have {count} numbers")
        places[key] = stream.tell()
        if stream.seek(dtype.itemsize * count, io.SEEK_CUR) > len(content):
            raise _Refused(f"the storage {key} is cut off")
    missing = described.keys() - places.keys()
    if missing:
        raise _Refused(f"the storage {min(missing)} is missing")
    return loaded


def _unpickle(stream: io.BytesIO, find: FindStorage | None = None) -> Any:
    """Run one pickle of a stream, after a look at all that it would do."""
    start = stream.tell()
    for count, (operation, argument, _) in enumerate(
        pickletools.genops(stream)
    ):
        if operation.name not in _OPERATIONS:
            raise _Refused(f"its pickle holds {operation.name}, which is code")
        # The memo grows to the largest number.
        if operation.name == "LONG_BINPUT" and int(argument or 0) > count:
            raise _Refused(f"its pickle puts {argument} of {count} objects by")
    program = stream.getbuffer()[start : stream.tell()]
    return _Unpickler(io.BytesIO(program), find).load()


class _Unpickler(pickle.Unpickler):
    """Makes containers and descriptions of tensors, and nothing else."""

    def __init__(self, stream: io.BytesIO, find: FindStorage | None) -> None:
        super().__init__(stream)
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class of data."""
        try:
            return _CLASSES[module, name]
        except KeyError:
            raise _Refused(
                f"beside tensors it holds {module}.{name}, which is code"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that an identifier describes."""
        is_storage = isinstance(pid, tuple) and pid[:1] == ("storage",)
        if self._find is None or not is_storage:
            raise _Refused("its pickle refers to what is no storage")
        _, type_of, key, _, count, *views = pid
        if any(view is not None for view in views):
            raise _Refused("its storages are parts of others, of old PyTorch")
        if not (isinstance(type_of, _Type) and isinstance(key, str)):
            raise _Refused("its pickle describes a storage of no known type")
        return self._find(key, type_of.dtype, _natural(count))


class _Maker:
    """A function that a pickle may call, and may do nothing else with."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("its pickle changes a function")


class _Dictionary(dict):
    """An OrderedDict, without the attributes that PyTorch gives it."""

    def __setstate__(self, state: Any) -> None:
        del state


def _make_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
) -> Tensor:
    """Describe a tensor that lies in its storage, each number at most once."""
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise _Refused("its pickle describes a tensor in another way")
    tensor = Tensor(
        storage,
        _natural(offset),
        tuple(map(_natural, shape)),
        tuple(map(_natural, strides)),
    )
    num_numbers = math.prod(tensor.shape)
    last = tensor.offset + sum(
        (side - 1) * stride
        for side, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    if num_numbers > storage.size or (num_numbers and last >= storage.size):
        raise _Refused(
            f"a tensor {list(tensor.shape)} with strides "
            f"{list(tensor.strides)} from {tensor.offset} on reaches out of "
            f"its storage of {storage.size}"
        )
    return tensor


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _Refused(f"its pickle has {value!r} for a size")
    return value


_CLASSES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Maker(_Dictionary),
    ("torch", "Size"): _Maker(tuple),
    ("torch._utils", "_rebuild_parameter"): _Maker(lambda data, *_: data),
    ("torch._utils", "_rebuild_tensor"): _Maker(_make_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Maker(_make_tensor),
    **{
        ("torch", f"{name}Storage"): _Type(np.dtype(dtype))
        for name, dtype in {
            "Double": np.float64,
            "Float": np.float32,
            "Half": np.float16,
            "BFloat16": tf.bfloat16.as_numpy_dtype,
            "Long": np.int64,
            "Int": np.int32,
            "Short": np.int16,
            "Char": np.int8,
            "Byte": np.uint8,
            "Bool": np.bool_,
        }.items()
    },
}
