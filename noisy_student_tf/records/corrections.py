"""What people said of images: one JSON line a decision, only ever appended.

    {"image_id": "5f...", "decision": "class", "class": "cat", "who": "ann",
     "when": "2026-03-01T09:30:00.123456+00:00", "shown": {"queue":
     "label_next", "model": "student_2", "best": [["dog", 0.41], ...]}}

`decision` is `class`, `none` (of the classes) or `withdrawn`, which takes back
what the same person said last of the image. Nothing is changed or removed, so
files of several people are merged by reading them all: of what people say now
the latest holds, and where they differ it is listed.
"""

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from noisy_student_tf import files
from noisy_student_tf.records import append_only

# What the file is called in a run's directory, and beside shards made with it.
FILE = "corrections.jsonl"

_ID_BYTES = 16

Decision = Literal["class", "none", "withdrawn"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person decided of an image, at one time.

    Attributes:
        image_id: 16 bytes.
        decision: Which kind it is.
        class_name: Of `class`; elsewhere None.
        who: The person.
        when: With its time zone.
        shown: What the person saw: `queue`, `model`, `best` (pairs of class
            and probability), `label`; empty where it is not known.
    """

    image_id: bytes
    decision: Decision
    class_name: str | None
    who: str
    when: datetime.datetime
    shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def answer(self) -> tuple[Decision, str | None]:
        """What was said, without who and when."""
        return self.decision, self.class_name


@dataclasses.dataclass(frozen=True)
class Read:
    """What a file holds.

    Attributes:
        corrections: In the order of their lines.
        damaged: Numbers of lines, from 1, that were left out: half-written.
    """

    corrections: list[Correction]
    damaged: list[int]


@dataclasses.dataclass(frozen=True)
class Merged:
    """What people say now.

    Attributes:
        answers: Image id -> the latest decision that nobody took back; never
            `withdrawn`.
        disagreements: Image id -> the last decision of each person, the
            latest first, where they differ.
    """

    answers: dict[bytes, Correction]
    disagreements: dict[bytes, list[Correction]]


def now() -> datetime.datetime:
    """Return the present time, of the zone UTC."""
    return datetime.datetime.now(datetime.UTC)


def append(path: str, corrections: Sequence[Correction]) -> None:
    """Append decisions to a local file; they are on the disk on return.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    if corrections:
        append_only.append_line(path, "\n".join(map(to_line, corrections)))


def to_line(correction: Correction) -> str:
    """Return a decision's line, without its end."""
    return json.dumps(
        {
            "image_id": correction.image_id.hex(),
            "decision": correction.decision,
            "class": correction.class_name,
            "who": correction.who,
            "when": correction.when.isoformat(),
            "shown": dict(correction.shown),
        },
        ensure_ascii=False,
    )


def read(path: str) -> Read:
    """Read a file of decisions.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A whole line is no decision, or no line is.
    """
    if not files.exists(path):
        raise FileNotFoundError(
            f"{path} does not exist: nobody decided anything yet. python -m "
            "run_scripts.review --workdir=... asks, and --import_from of "
            "run_scripts.corrections brings tables in."
        )
    found = parse(files.read_bytes(path), path)
    if found.damaged and not found.corrections:
        raise ValueError(
            f"{path}: no line is JSON. Accepted are files of decisions as "
            "run_scripts.review writes them; bring tables in with python -m "
            f"run_scripts.corrections --workdir=... --import_from={path}."
        )
    return found


def parse(content: bytes, path: str) -> Read:
    """Read lines of a file; see `read`.

    Args:
        content: Whole lines; the last one may have been cut by a kill.
        path: Where they were read, for errors.
    """
    found = Read([], [])
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            found.damaged.append(number)
            continue
        try:
            found.corrections.append(_from_fields(fields))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: no decision of an image ({error!r}). "
                f"Accepted are lines as {to_line(_EXAMPLE)}. Mend the line or "
                "remove it."
            ) from error
    return found


def _from_fields(fields: Any) -> Correction:
    """Check a line's fields.

    Raises:
        KeyError, TypeError, ValueError: They are no decision's.
    """
    correction = Correction(
        image_id=bytes.fromhex(fields["image_id"]),
        decision=fields["decision"],
        class_name=fields["class"],
        who=fields["who"],
        when=datetime.datetime.fromisoformat(fields["when"]),
        shown=fields.get("shown", {}),
    )
    if len(correction.image_id) != _ID_BYTES:
        raise ValueError("image_id has not 32 digits")
    if correction.decision not in get_args(Decision):
        raise ValueError(f"decision is {correction.decision!r}")
    has_class = isinstance(correction.class_name, str)
    if has_class != (correction.decision == "class"):
        raise ValueError(
            f"class is {correction.class_name!r} of a decision "
            f"{correction.decision!r}"
        )
    if not isinstance(correction.who, str):
        raise ValueError("who is no text")
    if correction.when.tzinfo is None:
        raise ValueError("when has no time zone")
    return correction


_EXAMPLE = Correction(
    image_id=bytes(_ID_BYTES),
    decision="class",
    class_name="cat",
    who="ann",
    when=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
)


def opinions(
    corrections: Iterable[Correction],
) -> dict[bytes, dict[str, Correction]]:
    """Return image id -> person -> what the person says now.

    A decision that is taken back uncovers the one before it.
    """
    said: dict[tuple[bytes, str], list[Correction]] = {}
    for each in sorted(corrections, key=lambda each: each.when):
        before = said.setdefault((each.image_id, each.who), [])
        if each.decision != "withdrawn":
            before.append(each)
        elif before:
            before.pop()
    held: dict[bytes, dict[str, Correction]] = {}
    for (image_id, who), decisions in said.items():
        if decisions:
            held.setdefault(image_id, {})[who] = decisions[-1]
    return held


def merge(corrections: Iterable[Correction]) -> Merged:
    """Return what holds of what several people said, of one file or many."""
    merged = Merged({}, {})
    for image_id, people in opinions(corrections).items():
        latest_first = sorted(
            people.values(), key=lambda each: each.when, reverse=True
        )
        merged.answers[image_id] = latest_first[0]
        if len({each.answer for each in latest_first}) > 1:
            merged.disagreements[image_id] = latest_first
    return merged


def unknown_classes(
    corrections: Iterable[Correction], class_names: Iterable[str]
) -> dict[str, int]:
    """Return class -> decisions for it, of classes that do not exist."""
    known = {None, *class_names}
    counts: dict[str, int] = {}
    for each in corrections:
        if each.class_name not in known:
            name = str(each.class_name)
            counts[name] = counts.get(name, 0) + 1
    return counts


def takes_back(
    corrections: Sequence[Correction], who: str, when: datetime.datetime
) -> list[Correction]:
    """Return what takes back a person's last decision, or last whole batch.

    Decisions of one batch have one time. Asked again, it goes one further
    back.

    Args:
        corrections: All that was said.
        who: The person.
        when: Of what is returned.

    Returns:
        One for each image; empty where nothing is left to be taken back.
    """
    mine = [
        people[who]
        for people in opinions(corrections).values()
        if who in people
    ]
    last = max((each.when for each in mine), default=None)
    return [
        dataclasses.replace(
            each, decision="withdrawn", class_name=None, when=when, shown={}
        )
        for each in mine
        if each.when == last
    ]
