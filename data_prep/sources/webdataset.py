"""Images in WebDataset's tar files: samples of several members each.

Members whose paths are the same up to the first dot of the name are a sample:
`a/0001.jpg` and `a/0001.cls`, or `a/0001.json`.
"""

import collections
import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from data_prep.sources import items, tars
from noisy_student_tf import files, heaps

USAGE = "wds:GLOB or wds:GLOB#label=KEY"

# Keys of a sample's JSON that may hold its label.
_LABEL_KEYS = ("label", "cls", "class", "class_name", "category")
_CLASS_SUFFIX, _JSON_SUFFIX = ".cls", ".json"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def open_webdataset(argument: str) -> items.Source:
    """Open `wds:GLOB` or `wds:GLOB#label=KEY`: WebDataset's tar files.

    A label is what a sample's `.cls` holds, a number or a name, or the value
    of a key of its `.json`. Without both the images have no classes. `GLOB` may
    have WebDataset's braces: `train-{000..146}.tar`.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is no uncompressed tar file, or some samples have a
            label and others none.
    """
    specification = f"wds:{argument}"
    chosen = argument.partition("#label=")[2]
    paths = expand(specification, argument)
    items.check_file_names(specification, paths)
    ignored = collections.Counter[str]()
    samples = [
        sample for path in paths for sample in _list(path, chosen, ignored)
    ]
    named = [sample for sample in samples if sample.label is not None]
    if named and len(named) < len(samples):
        other = next(each for each in samples if each.label is None)
        raise ValueError(
            f"{specification}: {len(samples) - len(named):,} of "
            f"{len(samples):,} samples have no label, such as "
            f"{other.picture.name} of {other.picture.path}. A label is in "
            f"{_CLASS_SUFFIX}, or in {_JSON_SUFFIX} as "
            f"{chosen or ' or '.join(_LABEL_KEYS)} (another key: #label=KEY)."
        )
    class_names = items.sort_class_names(
        sample.label for sample in named if sample.label is not None
    )
    labels = {name: label for label, name in enumerate(class_names)}
    listed = [
        tars.make_item(
            sample.picture,
            None if sample.label is None else labels[sample.label],
        )
        for sample in samples
    ]
    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=tars.read_ranges,
        list_items=lambda: items.Listing(listed, ignored),
    )


def expand(specification: str, pattern: str) -> list[str]:
    """Return the files that match a pattern with braces such as {00..12}.

    Raises:
        FileNotFoundError: None does.
    """
    pattern = pattern.partition("#label=")[0]
    match = _BRACES.search(pattern)
    if match is None:
        return items.expand(specification, pattern)
    first, last = match.groups()
    return list(
        itertools.chain.from_iterable(
            expand(
                specification,
                f"{pattern[: match.start()]}{number:0{len(first)}d}"
                f"{pattern[match.end() :]}",
            )
            for number in range(int(first), int(last) + 1)
        )
    )


@dataclasses.dataclass(frozen=True)
class _Sample:
    """A picture with the label of its sample, if that has one."""

    picture: tars.Member
    label: str | None


def _list(
    path: str, chosen: str, ignored: collections.Counter[str]
) -> Iterator[_Sample]:
    """Yield a file's pictures; other members but labels are counted."""
    members: dict[str, list[tars.Member]] = collections.defaultdict(list)
    for member in tars.list_members(path):
        if heaps.has_hidden_part(member.name):
            ignored[heaps.HIDDEN] += 1
        else:
            members[_key(member.name)].append(member)
    with files.open_file(path, "rb") as file:
        for sample in members.values():
            pictures = [
                each for each in sample if items.has_image_extension(each.name)
            ]
            texts = {
                heaps.suffix_of(each.name): each
                for each in sample
                if each.name.endswith((_CLASS_SUFFIX, _JSON_SUFFIX))
            }
            ignored.update(
                heaps.suffix_of(each.name)
                for each in sample
                if each not in pictures and each not in texts.values()
            )
            if pictures:
                label = _label(file, texts, chosen)
                yield from (_Sample(each, label) for each in pictures)
            else:
                ignored.update(["sample without a picture"])


def _key(name: str) -> str:
    """Return what the members of a sample share."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _label(file: Any, texts: dict[str, tars.Member], chosen: str) -> str | None:
    """Return the label of a sample; None if it has none.

    Raises:
        ValueError: Its JSON is damaged.
    """
    if _CLASS_SUFFIX in texts and not chosen:
        return " ".join(_read(file, texts[_CLASS_SUFFIX]).split()) or None
    if _JSON_SUFFIX not in texts:
        return None
    member = texts[_JSON_SUFFIX]
    try:
        content = json.loads(_read(file, member))
    except ValueError as error:
        raise ValueError(
            f"{member.path}: {member.name} is no JSON ({error})."
        ) from error
    for key in [chosen] if chosen else _LABEL_KEYS:
        if isinstance(content, dict) and content.get(key) is not None:
            return " ".join(str(content[key]).split())
    return None


def _read(file: Any, member: tars.Member) -> str:
    file.seek(member.offset)
    return file.read(member.size).decode("utf-8", errors="replace")
