import os

import pytest

from noisy_student_tf import files, heaps
from noisy_student_tf.records import shards


def write(root, *paths):
    for path in paths:
        files.make_directories(str((root / path).parent))
        (root / path).write_bytes(b"x")


def find(root, *folders):
    found = heaps.find_pictures(
        str(root), folders or ("",), is_picture=lambda n: n.endswith(".jpg")
    )
    return found.pictures, dict(found.ignored)


def test_files_are_found_at_any_depth_and_others_counted_by_suffix(tmp_path):
    write(tmp_path, "b.jpg", "a/c.jpg", "a/d.HEIC", "e.HEIC", "notes", "f.txt")
    assert find(tmp_path) == (
        {"": ["a/c.jpg", "b.jpg"]},
        {".HEIC": 2, "without suffix": 1, ".txt": 1},
    )


def test_files_without_a_suffix_are_told_by_their_first_bytes(tmp_path):
    write(tmp_path, "IMG_1", "README", "odd.dat", "b.jpg")
    (tmp_path / "IMG_1").write_bytes(b"picture" + bytes(100))
    found = heaps.find_pictures(
        str(tmp_path),
        is_picture=lambda name: name.endswith(".jpg"),
        begins_as_picture=lambda head: head.startswith(b"picture"),
    )
    assert found.pictures == {"": ["IMG_1", "b.jpg"]}
    assert found.ignored == {"without suffix": 1, ".dat": 1}


def test_what_systems_leave_is_not_entered(tmp_path):
    write(
        tmp_path,
        "cat/a.jpg",
        "cat/._a.jpg",
        "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/cat/._a.jpg",
        ".ipynb_checkpoints/a.jpg",
    )
    assert heaps.list_folders(str(tmp_path)) == ["cat"]
    assert find(tmp_path) == (
        {"": ["cat/a.jpg"]},
        {"hidden": 1, "@eaDir/": 1, "__MACOSX/": 1, ".ipynb_checkpoints/": 1},
    )


def test_links_to_what_is_there_are_no_folders_of_their_own(tmp_path):
    write(tmp_path, "heap/cat/a.jpg", "elsewhere/b.jpg")
    for name, target in (("self", "."), ("above", ".."), ("kitten", "cat")):
        os.symlink(target, tmp_path / "heap" / name)
    os.symlink("../elsewhere", tmp_path / "heap" / "dog")
    assert heaps.list_folders(str(tmp_path / "heap")) == ["cat", "dog"]


def test_folder_named_like_a_picture_is_a_folder(tmp_path):
    write(tmp_path, "u0.jpg/a.jpg")
    (tmp_path / "empty.jpg").mkdir()
    assert find(tmp_path)[0] == {"": ["u0.jpg/a.jpg"]}


def test_every_folder_is_read_once_whatever_leads_to_it(tmp_path):
    write(tmp_path, "heap/z/a.jpg", "elsewhere/b.jpg")
    heap = tmp_path / "heap"
    os.symlink(".", heap / "again")
    os.symlink("..", heap / "z/back")
    os.symlink("z", heap / "a_link_that_sorts_first")
    os.symlink("../elsewhere", heap / "outside")
    pictures, ignored = find(heap)
    assert pictures == {"": ["outside/b.jpg", "z/a.jpg"]}
    assert ignored == {"link to a folder that is read already": 3}


def test_linked_files_are_read_and_broken_links_are_named_later(tmp_path):
    write(tmp_path, "a.jpg")
    os.symlink("a.jpg", tmp_path / "b.jpg")
    os.symlink("nowhere", tmp_path / "c.jpg")
    assert find(tmp_path) == ({"": ["a.jpg", "b.jpg", "c.jpg"]}, {})


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert find(tmp_path) == ({"": []}, {heaps.SPECIAL: 1})


def test_remote_folders_are_walked(tmp_path):
    root = "ram://test_heaps"
    for path in ("cat/a.jpg", "cat/deep/b.jpg", "dog/c.txt", "cat/.d.jpg"):
        files.make_directories(f"{root}/{path}".rpartition("/")[0])
        files.write_bytes(f"{root}/{path}", b"x")
    assert find(root, "cat", "dog") == (
        {"cat": ["cat/a.jpg", "cat/deep/b.jpg"], "dog": []},
        {".txt": 1, "hidden": 1},
    )
    for directory in (root, f"{root}/"):
        assert find(directory)[0] == {"": ["cat/a.jpg", "cat/deep/b.jpg"]}


@pytest.mark.parametrize(
    "path, is_hidden",
    [
        ("cat/a.jpg", False),
        ("cat/._a.jpg", True),
        ("__MACOSX/cat/a.jpg", True),
        ("@eaDir", False),
    ],
)
def test_hidden_parts_of_paths_are_told(path, is_hidden):
    assert heaps.has_hidden_part(path) == is_hidden


def test_ignored_files_are_described_with_what_to_do():
    ignored = {".txt": 11, ".HEIC": 300}
    assert heaps.describe_ignored(ignored, {".heic": "convert them"}) == (
        "311 files ignored: 300 .HEIC (convert them), 11 .txt"
    )
    assert heaps.describe_ignored({".txt": 1}, {}) == ("1 file ignored: 1 .txt")
    assert heaps.describe_ignored({"row without a label": 2}, {}) == (
        "2 entries ignored: 2 row without a label"
    )
    assert heaps.describe_ignored({}, {}) == ""


def test_changes_since_a_snapshot_are_described_by_folder(tmp_path):
    write(tmp_path, "birds/cat/a.jpg", "birds/dog/b.jpg")
    source = f"folder:{tmp_path}/birds"
    before = heaps.snapshot(source)
    assert heaps.describe_change(before, heaps.snapshot(source)) == ""
    write(tmp_path, "birds/cat/c.jpg", "birds/owl/d.jpg")
    (tmp_path / "birds/dog/b.jpg").unlink()
    assert heaps.describe_change(before, heaps.snapshot(source)) == (
        "cat: 1 files became 2; dog: 1 files became 0; owl: 0 files became 1"
    )
    assert heaps.describe_change(before, None) == "it is gone"


def test_renamed_files_and_changed_tables_are_changes(tmp_path):
    write(tmp_path, "a.jpg", "list.csv")
    folder, table = f"files:{tmp_path}", f"csv:{tmp_path}/list.csv#path=x"
    before = heaps.snapshot(folder), heaps.snapshot(table)
    (tmp_path / "a.jpg").rename(tmp_path / "b.jpg")
    (tmp_path / "list.csv").write_text("b.jpg")
    found = [
        heaps.describe_change(old, heaps.snapshot(source))
        for old, source in zip(before, (folder, table), strict=True)
    ]
    assert found == ["files have other names", "its table has changed"]


def test_further_decisions_of_people_are_a_change(tmp_path):
    paths = [tmp_path / "ann.jsonl", tmp_path / "bob.jsonl"]
    for path in paths:
        path.write_text("{}\n{}\n")
    source = "corrections:" + ",".join(map(str, paths))
    before = heaps.snapshot(source)
    assert heaps.describe_change(before, heaps.snapshot(source)) == ""
    with paths[1].open("a") as file:
        file.write("{}\n")
    now = heaps.snapshot(source)
    assert heaps.describe_change(before, now) == (
        "4 decisions of people became 5"
    )
    paths[0].unlink()
    assert heaps.snapshot(source) is None


def test_large_sources_are_not_listed_again(tmp_path, monkeypatch):
    write(tmp_path, "a.jpg", "b.jpg")
    source = {"labeled": "digits", "unlabeled": f"files:{tmp_path}"}
    assert set(heaps.snapshots(source)) == {"unlabeled"}
    monkeypatch.setattr(heaps, "_MAX_LISTED_AGAIN", 1)
    assert heaps.snapshots(source) == {}


@pytest.mark.parametrize(
    "source", ["digits", "", "tfds:mnist", "folder:gs://a/b", "folder:/none"]
)
def test_other_sources_have_no_snapshot(source):
    assert heaps.snapshot(source) is None


def test_changed_source_is_named_with_the_ways_on(tmp_path):
    root = str(tmp_path / "run")
    labeled = f"{root}/labeled"
    source = f"files:{tmp_path}/birds"
    files.make_directories(f"{tmp_path}/birds")
    manifest = {
        "source": {"labeled": source, "evaluation": ""},
        "snapshots": {"labeled": heaps.snapshot(source)},
    }
    files.make_directories(labeled)
    shards.write_manifest(labeled, manifest)
    assert [*heaps.changed_sources(labeled)] == []
    files.write_bytes(f"{tmp_path}/birds/a.jpg", b"x")
    (change,) = heaps.changed_sources(labeled)
    assert f"{source} has changed" in change
    assert f"another --workdir, or remove {root}" in change
    files.remove(root)
    assert [*heaps.changed_sources(labeled)] == []
