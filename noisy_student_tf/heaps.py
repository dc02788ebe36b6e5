"""Folders as people fill them: the pictures in them, and what is left out.

Network drives and archivers leave folders of their own, and links may lead
back to where they are: every folder is read once, whatever leads to it.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from noisy_student_tf import files
from noisy_student_tf.records import shards

# Of network drives, archivers and file systems; compared without case.
_SYSTEM_FOLDERS = (
    "@eadir",
    "__macosx",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)

_HEAD_BYTES = 64

HIDDEN = "hidden"
SPECIAL = "no regular file"

# How kinds begin that are of no files: of tables, and of archives.
_ENTRIES = ("row", "line", "sample")


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies in some folders.

    Attributes:
        pictures: Folder -> its pictures' paths relative to the directory that
            the folders are in, sorted.
        ignored: Suffix, or another word for what it is -> number of files.
            Folders that are not entered end with a slash and count as one.
    """

    pictures: dict[str, list[str]]
    ignored: collections.Counter[str]


def is_left_alone(name: str) -> bool:
    """Tell whether a file or folder is hidden, or the system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def has_hidden_part(path: str) -> bool:
    """Tell whether a relative path leads through such a name."""
    parts = path.split("/")
    return any(map(is_left_alone, parts[:-1])) or parts[-1].startswith(".")


def suffix_of(name: str) -> str:
    """Return what files of the kind are counted as: the suffix, as it is."""
    return os.path.splitext(name)[1] or "without suffix"


def list_folders(directory: str) -> list[str]:
    """Return the sorted names of a directory's folders, but for those.

    Links to one of them, to the directory or to what it lies in are none.
    """
    entries = [
        entry
        for entry in files.scan_directory(directory)
        if not is_left_alone(entry.name) and entry.is_directory()
    ]
    own = files.real_path(directory)
    inside = {
        files.real_path(each.path) for each in entries if not each.is_link
    }

    def is_new(entry: files.Entry) -> bool:
        real = files.real_path(entry.path)
        return real not in inside and not f"{own}/".startswith(f"{real}/")

    return [each.name for each in entries if not each.is_link or is_new(each)]


def find_pictures(
    directory: str,
    folders: Sequence[str] = ("",),
    *,
    is_picture: Callable[[str], bool],
    begins_as_picture: Callable[[bytes], bool] | None = None,
) -> Found:
    """Find the pictures at any depth below some folders of a directory.

    Args:
        directory: What paths are relative to.
        folders: Names in it; "" is the directory itself.
        is_picture: Tells by a file's name whether it is one.
        begins_as_picture: Tells the same of files without a suffix, by their
            first bytes; None: they are none.
    """
    found = Found({name: [] for name in folders}, collections.Counter())
    seen = {files.real_path(directory)} - {
        files.real_path(files.join(directory, name)) for name in folders
    }
    # Behind the folders themselves, so that a link adds no second path to
    # what has one.
    pending = collections.deque((name, name) for name in folders)
    linked = collections.deque[tuple[str, str]]()
    while pending or linked:
        top, folder = (pending or linked).popleft()
        path = files.join(directory, folder) if folder else directory
        real = files.real_path(path)
        if real in seen:
            found.ignored["link to a folder that is read already"] += 1
            continue
        seen.add(real)
        for entry in files.scan_directory(path):
            inside = f"{folder}/{entry.name}" if folder else entry.name
            # On object stores asking costs a round trip.
            is_folder = (
                entry.is_known or not is_picture(entry.name)
            ) and entry.is_directory()
            if is_left_alone(entry.name):
                found.ignored[f"{entry.name}/" if is_folder else HIDDEN] += 1
            elif is_folder:
                (linked if entry.is_link else pending).append((top, inside))
            elif kind := _left_out_as(entry, is_picture, begins_as_picture):
                found.ignored[kind] += 1
            else:
                found.pictures[top].append(inside)
    for paths in found.pictures.values():
        paths.sort(key=lambda path: path.split("/"))
    return found


def _left_out_as(
    entry: files.Entry,
    is_picture: Callable[[str], bool],
    begins_as_picture: Callable[[bytes], bool] | None,
) -> str:
    """Return what a file is counted as; empty: it is a picture."""
    if entry.is_special():
        return SPECIAL
    if is_picture(entry.name):
        return ""
    if (
        begins_as_picture
        and not os.path.splitext(entry.name)[1]
        and begins_as_picture(_head(entry.path))
    ):
        return ""
    return suffix_of(entry.name)


def _head(path: str) -> bytes:
    """Return a file's first bytes; none if it cannot be read."""
    try:
        with files.open_file(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except files.errors():
        return b""


def describe_ignored(
    ignored: Mapping[str, int], advice: Mapping[str, str]
) -> str:
    """Say how many files were left out, by suffix, the most frequent first.

    Args:
        ignored: See `Found`.
        advice: Suffix in lower case -> what to do about it.

    Returns:
        Such as `311 files ignored: 300 .HEIC (convert them), 11 .txt`; empty
        if there are none.
    """
    if not ignored:
        return ""
    counted = collections.Counter(ignored).most_common()
    named = [
        f"{number:,} {kind}"
        + (f" ({advice[kind.lower()]})" if kind.lower() in advice else "")
        for kind, number in counted
    ]
    total = sum(ignored.values())
    noun = "file" if all(map(_is_of_files, ignored)) else "entry"
    if total != 1:
        noun = "files" if noun == "file" else "entries"
    return f"{total:,} {noun} ignored: {', '.join(named)}"


def _is_of_files(kind: str) -> bool:
    return not kind.startswith(_ENTRIES)


# How manifests name people's decisions, which are a source, too.
_CORRECTIONS = "corrections"

# Kinds of sources that are listed without reading what they hold.
_FOLDER_KINDS = ("folder", "files", "splits")

# Every later command lists them: a second's worth of files.
_MAX_LISTED_AGAIN = 100_000


def snapshot(specification: str) -> dict[str, Any] | None:
    """Return what a source of local files holds, for `describe_change`.

    None for other sources, which would have to be read, or listed at a price.
    """
    kind, _, argument = specification.partition(":")
    if kind == _CORRECTIONS:
        return _snapshot_of_decisions(argument.split(","))
    path = files.expand_home(argument.partition("#")[0])
    if files.is_remote(path) or not files.exists(path):
        return None
    if kind == "csv" and not files.is_directory(path):
        content = files.read_bytes(path)
        return {"table": hashlib.sha256(content).hexdigest()}
    if kind not in _FOLDER_KINDS or not files.is_directory(path):
        return None
    found = find_pictures(path, is_picture=lambda _: True).pictures[""]
    by_folder = collections.Counter(
        name.partition("/")[0] if "/" in name else "" for name in found
    )
    digest = hashlib.sha256("\n".join(found).encode("utf-8", "replace"))
    return {"files": dict(by_folder), "names": digest.hexdigest()}


def _snapshot_of_decisions(paths: Sequence[str]) -> dict[str, Any] | None:
    """Return how many lines of decisions there are; None: a file is gone."""
    paths = [files.expand_home(path) for path in paths]
    if not all(map(files.exists, paths)):
        return None
    content = b"".join(map(files.read_bytes, paths))
    digest = hashlib.sha256(content).hexdigest()
    return {"decisions": content.count(b"\n"), "table": digest}


def snapshots(sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return role -> snapshot of the sources that are quick to list again."""
    found = ((role, snapshot(source)) for role, source in sources.items())
    return {
        role: each
        for role, each in found
        if each is not None
        and sum(each.get("files", {}).values()) <= _MAX_LISTED_AGAIN
    }


def describe_change(
    before: Mapping[str, Any], now: Mapping[str, Any] | None
) -> str:
    """Say how a source differs from an earlier snapshot; empty: it does not."""
    if now is None:
        return "it is gone"
    if before == now:
        return ""
    if "decisions" in before and "decisions" in now:
        return (
            f"{before['decisions']:,} decisions of people became "
            f"{now['decisions']:,}"
        )
    if "files" not in before or "files" not in now:
        return "its table has changed"
    old, new = before["files"], now["files"]
    changes = [
        f"{name or 'the folder itself'}: {old.get(name, 0):,} files became "
        f"{new.get(name, 0):,}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changes) or "files have other names"


def changed_sources(*directories: str) -> Iterator[str]:
    """Yield what has changed in the sources since their shards were made.

    Args:
        *directories: The labeled and the unlabeled directory of a run.
    """
    before = {}
    for directory in directories:
        if shards.is_finished(directory):
            manifest = shards.read_manifest(directory)
            for role, found in manifest.get("snapshots", {}).items():
                before[manifest["source"][role]] = found, directory
    for specification, (found, directory) in before.items():
        if change := describe_change(found, snapshot(specification)):
            yield (
                f"{specification} has changed since its shards were made "
                f"({change}); the results are of what it was. For what it is "
                "now give another --workdir, or remove "
                f"{os.path.dirname(directory)}."
            )
