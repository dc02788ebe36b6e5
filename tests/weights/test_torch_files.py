"""Tensors are read as they were saved, and nothing but tensors is."""

import builtins
import collections
import functools
import os
import pickle
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.weights import torch_files
from tests.weights import torch_writer

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FORMATS = (torch_writer.archive, torch_writer.stream)


@pytest.fixture
def load(tmp_path):
    def load_content(content):
        path = tmp_path / "file.pth"
        path.write_bytes(content)
        return torch_files.load(str(path))

    return load_content


@pytest.mark.parametrize("write", FORMATS)
def test_tensors_of_all_types_come_back(load, write):
    state = {
        name: ARRAY.astype(dtype)
        for name, dtype in {
            "double": np.float64,
            "float": np.float32,
            "half": np.float16,
            "bfloat16": tf.bfloat16.as_numpy_dtype,
            "long": np.int64,
            "scalar": np.float32,
        }.items()
    }
    state["scalar"] = np.float32([7.5]).reshape(())
    loaded = load(write(collections.OrderedDict(state)))
    assert list(loaded) == list(state)
    for name, array in state.items():
        found = np.asarray(loaded[name])
        assert loaded[name].shape == array.shape
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert np.asarray(loaded["half"], np.float32).dtype == np.float32


@pytest.mark.parametrize("write", FORMATS)
def test_views_of_a_storage_are_read_by_their_strides(load, write):
    storage = ARRAY.ravel()
    view = torch_writer.View(storage, 4, (3, 2), (1, 8))
    found = np.asarray(load(write({"view": view}))["view"])
    np.testing.assert_array_equal(found, [[4, 12], [5, 13], [6, 14]])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_what_lies_beside_tensors(load, protocol):
    content = {"epoch": 3, "best": 0.5, "names": ["a", None, True], "w": ARRAY}
    loaded = load(torch_writer.archive(content, protocol=protocol))
    np.testing.assert_array_equal(loaded.pop("w"), ARRAY)
    assert loaded == {"epoch": 3, "best": 0.5, "names": ["a", None, True]}


def test_attributes_of_a_state_are_dropped(load):
    state = collections.OrderedDict(w=ARRAY)
    state._metadata = {"": {"version": 1}}
    loaded = load(torch_writer.archive(state))
    assert list(loaded) == ["w"] and not hasattr(loaded, "_metadata")


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(
    "function, name",
    [
        (os.mkdir, f"{os.mkdir.__module__}.mkdir"),
        (os.system, f"{os.system.__module__}.system"),
        # In pickles of protocol 2 modules have the names of Python 2.
        (builtins.eval, "__builtin__.eval"),
        (builtins.getattr, "__builtin__.getattr"),
        (builtins.__import__, "__builtin__.__import__"),
        (subprocess.Popen, "commands.Popen"),
        (functools.partial, "functools.partial"),
        (np.load, "numpy.load"),
    ],
)
def test_calls_are_refused_by_name(load, tmp_path, write, function, name):
    trace = tmp_path / "was-run"
    hostile = {"w": ARRAY, "x": Call(function, str(trace))}
    with pytest.raises(ValueError) as caught:
        load(write(hostile))
    message = str(caught.value)
    assert f"holds {name}, which is code" in message
    assert "file.pth: refused, and nothing of it was run" in message
    assert not trace.exists()


# Programs of pickles by hand: proto 2, operations, stop.
@pytest.mark.parametrize(
    "program, message",
    [
        (b"(S'true'\nios\nsystem\n.", "STRING, which is code"),
        (b"(ios\nsystem\n.", "INST, which is code"),
        (b"(cos\nsystem\nX\x04\x00\x00\x00trueo.", "OBJ, which is code"),
        (b"ccollections\nOrderedDict\n)\x81.", "NEWOBJ, which is code"),
        (b"\x82\x01.", "EXT1, which is code"),
        (b"P1\n.", "PERSID, which is code"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n}b.", "changes a function"),
        (b"ctorch\nFloatStorage\n)R.", "TypeError"),
        (b"ctorch\nFloatStorage\n}X\x01\x00\x00\x00aNsb.", "damaged"),
        (b"]r\xff\xff\xff\x7f.", "puts 2147483647 of"),
        (b"X\xff\xff\xff\x7fabc.", "cut off or damaged"),
        (b"NQ.", "no storage"),
        (b"(X\x06\x00\x00\x00modulec__main__\nNet\ntQ.", "__main__.Net"),
        (b"ccollections\nOrderedDict\nK\x05\x85R.", "damaged"),
        (b"0.", "damaged"),
        (b"]", "damaged"),
    ],
)
def test_programs_are_refused(load, program, message):
    entries = {"model/data.pkl": b"\x80\x02" + program}
    with pytest.raises(ValueError, match=message):
        load(torch_writer.pack(entries))


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (0, (25,), (1,)),
        (24, (1,), (1,)),
        (20, (2, 3), (3, 1)),
        (0, (2, 2), (20, 20)),
        (-1, (2,), (1,)),
        (0, (-1, 3), (1, 1)),
        (4, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (True, (2,), (1,)),
        (0, (2.0,), (1,)),
        # A billion numbers out of one.
        (0, (10**9,), (0,)),
        (0, (2**62, 4), (0, 0)),
    ],
)
def test_tensors_reach_no_further_than_their_storage(
    load, write, offset, shape, strides
):
    view = torch_writer.View(ARRAY.ravel(), offset, shape, strides)
    with pytest.raises(ValueError, match="nothing of it was run"):
        load(write({"w": view}))


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("count", [23, 25, 2**40, -1, 24.0, "24"])
def test_storages_have_the_size_that_is_said(load, write, count):
    view = torch_writer.View(ARRAY.ravel(), 0, (2,), (1,), count)
    with pytest.raises(ValueError, match="nothing of it was run"):
        load(write({"w": view}))


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("share", [0.0005, 0.1, 0.5, 0.9, 0.999])
def test_every_cut_is_told(load, write, share):
    content = write({"w": np.zeros(1000, np.float32)})
    with pytest.raises(ValueError, match=r"file.pth: refused"):
        load(content[: int(share * len(content))])


def test_a_changed_byte_of_a_storage_is_told(load):
    content = torch_writer.archive({"w": ARRAY})
    place = content.index(ARRAY.tobytes())
    loaded = load(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(ValueError, match=r"file.pth: refused.*CRC"):
        np.asarray(loaded["w"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"byteorder": b"big"}, "not little-endian"),
        ({"data/0": b"123"}, "has 3 bytes, not 24 numbers of 4"),
        ({"../data.pkl": b""}, "other than one data.pkl"),
    ],
)
def test_odd_archives(load, changes, message):
    with pytest.raises(ValueError, match=message):
        load(torch_writer.archive({"w": ARRAY}, **changes))


def test_names_of_entries_lead_nowhere(load, tmp_path):
    """A key with a path asks for an entry, which there is none of."""
    (tmp_path / "secret").write_bytes(ARRAY.tobytes())
    program = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
        b"ctorch\nFloatStorage\nX\x0c\x00\x00\x00../../secretX\x03\x00\x00\x00"
        b"cpuK\x18tQK\x00K\x18\x85K\x01\x85\x89NtR."
    )
    with pytest.raises(ValueError, match=r"data/../../secret is missing"):
        load(torch_writer.pack({"model/data.pkl": program}))


def test_a_bomb_is_not_unpacked(load):
    bomb = torch_writer.pack(
        {"model/data.pkl": b"\x80\x02N.", "model/data/0": bytes(10**7)},
        zipfile.ZIP_DEFLATED,
    )
    assert len(bomb) < 10**5
    with pytest.raises(ValueError, match="is compressed"):
        load(bomb)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"w": 1}, protocol=2), "not one of torch.save"),
        (torch_writer.stream({"w": ARRAY}, version=7), "version 7"),
        (torch_writer.pack({"a.txt": b""}), "other than one data.pkl"),
    ],
)
def test_other_files(load, content, message):
    with pytest.raises(ValueError, match=message):
        load(content)


def test_a_stream_with_storages_in_two_ways(load):
    content = torch_writer.stream({"w": ARRAY})
    count = struct.pack("<q", ARRAY.size)
    place = content.rindex(count + ARRAY.tobytes())
    changed = struct.pack("<q", 5)
    with pytest.raises(ValueError, match="does not have 24 numbers"):
        load(content[:place] + changed + content[place + 8 :])
