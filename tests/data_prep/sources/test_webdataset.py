import json

import pytest

from data_prep import sources
from tests.data_prep import small_pictures


def write(path, samples: dict[str, dict[str, bytes]]) -> None:
    small_pictures.write_tar(
        path,
        {
            f"{key}.{suffix}": content
            for key, members in samples.items()
            for suffix, content in members.items()
        },
    )


def read_all(source) -> dict[str, tuple[int | None, bytes]]:
    listed = tuple(sources.list_checked(source).images)
    with source.reader(listed) as read:
        return {item.key: (item.label, read(item)) for item in listed[::-1]}


def test_numbers_in_cls_are_labels(tmp_path):
    write(
        tmp_path / "train-00.tar",
        {
            "0000": {"jpg": b"a", "cls": b"10", "txt": b"a caption"},
            "0001": {"cls": b"9\n", "jpg": b"b", "json": b"{}"},
        },
    )
    write(tmp_path / "train-01.tar", {"x/0002": {"png": b"c", "cls": b"9"}})
    source = sources.open_source(f"wds:{tmp_path}/train-{{00..01}}.tar")
    assert source.class_names == ("9", "10")
    assert read_all(source) == {
        "train-00.tar/0000.jpg": (1, b"a"),
        "train-00.tar/0001.jpg": (0, b"b"),
        "train-01.tar/x/0002.png": (0, b"c"),
    }
    assert source.list_items().ignored == {".txt": 1}


def test_labels_of_json_are_found_by_their_key(tmp_path):
    path = tmp_path / "a.tar"
    write(
        path,
        {
            name: {"jpg": b"x", "json": json.dumps(content).encode()}
            for name, content in {
                "0": {"label": "owl", "kind": "bird"},
                "1": {"label": "cat", "kind": "mammal"},
            }.items()
        },
    )
    assert sources.open_source(f"wds:{path}").class_names == ("cat", "owl")
    chosen = sources.open_source(f"wds:{path}#label=kind")
    assert chosen.class_names == ("bird", "mammal")


def test_samples_without_labels_have_no_classes(tmp_path):
    path = tmp_path / "a.tar"
    write(path, {"0": {"jpg": b"a", "txt": b"-"}, "1": {"cls": b"3"}})
    source = sources.open_source(f"wds:{path}")
    assert source.class_names == ()
    assert read_all(source) == {"a.tar/0.jpg": (None, b"a")}
    assert source.list_items().ignored == {
        ".txt": 1,
        "sample without a picture": 1,
    }
    by_file = sources.open_by_file(f"wds:{path}")
    (item,) = by_file.list_file(by_file.paths[0])
    assert item.image_id == source.list_items().images[0].image_id


def test_some_samples_without_labels_are_an_error(tmp_path):
    path = tmp_path / "a.tar"
    write(path, {"0": {"jpg": b"a", "cls": b"1"}, "1": {"jpg": b"b"}})
    with pytest.raises(
        ValueError, match=r"1 of 2 samples have no label.*1.jpg"
    ):
        sources.open_source(f"wds:{path}")


def test_damaged_json_is_an_error(tmp_path):
    path = tmp_path / "a.tar"
    write(path, {"0": {"jpg": b"a", "json": b"{"}})
    with pytest.raises(ValueError, match=r"a.tar: 0.json is no JSON"):
        sources.open_source(f"wds:{path}")
