"""Decisions as tables, and those that were made in other programs.

Read are CSV files and Label Studio's JSON export; written is CSV. Who labels
elsewhere names images by their files; they are found in the run's indexes.
"""

import csv
import dataclasses
import datetime
import io
import json
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import corrections
from noisy_student_tf.review import places

COLUMNS = (
    "image_id",
    "key",
    "decision",
    "class",
    "who",
    "when",
    "queue",
    "model",
)
NONE_NAME = "none of these"

_IMAGE_COLUMNS = ("image_id", "key", "image", "file", "path", "filename")
_CLASS_COLUMNS = ("class", "label", "class_name")
_SEPARATORS = ",;\t"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a table says of an image.

    Attributes:
        image: Its id in hex, or its file's name.
        class_name: None: none of the classes.
        who: Empty where it is not told.
        when: None where it is not told.
    """

    image: str
    class_name: str | None
    who: str = ""
    when: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Taken:
    """What became of a table's rows.

    Attributes:
        corrections: What they say that was not said before.
        num_known: Rows that say what the same person says already.
        unknown_images: Images that are not the run's.
        ambiguous_images: Names that several images of the run have.
        unknown_classes: Class -> rows that name it; it is not the run's.
    """

    corrections: list[corrections.Correction]
    num_known: int
    unknown_images: list[str]
    ambiguous_images: list[str]
    unknown_classes: dict[str, int]


def to_csv(
    merged: corrections.Merged, found: Mapping[bytes, places.Place]
) -> str:
    """Return a table of what holds, one line an image, in order of time.

    Args:
        merged: What people say.
        found: Where the images lie; the others have no key.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in sorted(merged.answers.values(), key=lambda each: each.when):
        place = found.get(each.image_id)
        writer.writerow(
            [
                each.image_id.hex(),
                place.key if place else "",
                each.decision,
                each.class_name or "",
                each.who,
                each.when.isoformat(),
                each.shown.get("queue", ""),
                each.shown.get("model", ""),
            ]
        )
    return output.getvalue()


def read_answers(path: str, *, none_name: str = NONE_NAME) -> list[Answer]:
    """Read a CSV file, or Label Studio's JSON export, by its suffix.

    Args:
        path: Of the file.
        none_name: What stands for none of the classes.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is neither.
    """
    text = files.read_bytes(path).decode("utf-8-sig")
    if path.endswith(".json"):
        return _from_label_studio(text, path, none_name)
    if path.endswith((".csv", ".tsv", ".txt")):
        return _from_csv(text, path, none_name)
    raise ValueError(
        f"--import_from={path}: accepted are tables (.csv, .tsv, .txt) and "
        "Label Studio's export (.json). Files of decisions are merged by "
        "naming them all: --corrections=a.jsonl,b.jsonl."
    )


def _from_csv(text: str, path: str, none_name: str) -> list[Answer]:
    heading = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=heading.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator)
    names = reader.fieldnames or []
    image_column = _first(_IMAGE_COLUMNS, names)
    class_column = _first(_CLASS_COLUMNS, names)
    if image_column is None or class_column is None:
        raise ValueError(
            f"{path}: the first line is {heading!r}. Accepted is a heading "
            f"with one of {', '.join(_IMAGE_COLUMNS)} and one of "
            f"{', '.join(_CLASS_COLUMNS)}; `decision`, `who` and `when` may "
            "stand beside them."
        )
    answers = []
    for number, row in enumerate(reader, 2):
        name = (row[class_column] or "").strip()
        decision = row.get("decision") or ("class" if name else "")
        if decision not in ("class", "none") or not row[image_column]:
            # Nothing was said of this image.
            continue
        is_none = decision == "none" or name == none_name
        answers.append(
            Answer(
                image=row[image_column].strip(),
                class_name=None if is_none else name,
                who=row.get("who") or "",
                when=_time(row.get("when"), f"{path}, line {number}"),
            )
        )
    return answers


def _first(wanted: Sequence[str], names: Collection[str]) -> str | None:
    return next((each for each in wanted if each in names), None)


def _time(text: str | None, where: str) -> datetime.datetime | None:
    if not text:
        return None
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{where}: the time is {text!r}; accepted is ISO 8601, such as "
            "2026-03-01T09:30:00+00:00."
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=datetime.UTC)


def _from_label_studio(text: str, path: str, none_name: str) -> list[Answer]:
    try:
        tasks = json.loads(text)
        return [
            _from_annotation(task, annotation, none_name, path)
            for task in tasks
            for annotation in task["annotations"]
            if _choices(annotation)
        ]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: no export of Label Studio's kind JSON ({error!r}). "
            "Accepted is a list of tasks with `data` and `annotations`, whose "
            "results are choices; of its other kinds, export JSON."
        ) from error


def _choices(annotation: Mapping[str, Any]) -> list[str]:
    if annotation.get("was_cancelled"):
        return []
    return [
        choice
        for result in annotation["result"]
        if result.get("type") == "choices"
        for choice in result["value"]["choices"]
    ]


def _from_annotation(
    task: Mapping[str, Any],
    annotation: Mapping[str, Any],
    none_name: str,
    path: str,
) -> Answer:
    where = f"{path}, task {task.get('id')}"
    names = _choices(annotation)
    if len(names) != 1:
        raise ValueError(
            f"{where}: the choices are {names}; accepted is one class an "
            "image. Let the labeling interface take a single choice."
        )
    data = task["data"]
    column = _first(_IMAGE_COLUMNS, data)
    if column is None:
        raise ValueError(
            f"{where}: its data have {sorted(data)}; accepted is one of "
            f"{', '.join(_IMAGE_COLUMNS)}."
        )
    when = annotation.get("updated_at") or annotation.get("created_at")
    return Answer(
        image=_file_name(str(data[column])),
        class_name=None if names[0] == none_name else names[0],
        who=_person(annotation.get("completed_by")),
        when=_time(when, where),
    )


def _file_name(address: str) -> str:
    """Return the path in an address of Label Studio's local files, or of any.

    `/data/local-files/?d=pictures/cat%201.jpg` -> `pictures/cat 1.jpg`.
    """
    parts = urllib.parse.urlsplit(address)
    named = urllib.parse.parse_qs(parts.query).get("d")
    return named[0] if named else urllib.parse.unquote(parts.path)


def _person(completed_by: Any) -> str:
    if isinstance(completed_by, Mapping):
        return str(completed_by.get("email") or completed_by.get("id") or "")
    return "" if completed_by is None else f"Label Studio {completed_by}"


def take(
    answers: Sequence[Answer],
    workdir: workdirs.Workdir,
    *,
    class_names: Sequence[str],
    known: Sequence[corrections.Correction],
    who: str,
) -> Taken:
    """Return answers as decisions of a run's images.

    Args:
        answers: What tables say.
        workdir: Of the run.
        class_names: Of the run.
        known: What was said before.
        who: Says what names no person.
    """
    now = corrections.now()
    held = corrections.opinions(known)
    found = _find(answers, workdir)
    taken = Taken([], 0, [], [], {})
    num_known = 0
    for answer in answers:
        images = found.get(answer.image, [])
        name = answer.class_name
        if not images:
            taken.unknown_images.append(answer.image)
        elif len(images) > 1:
            taken.ambiguous_images.append(answer.image)
        elif name is not None and name not in class_names:
            taken.unknown_classes[name] = taken.unknown_classes.get(name, 0) + 1
        else:
            made = _correction(answer, images[0].image_id, who, now)
            before = held.setdefault(made.image_id, {}).get(made.who)
            if before and before.answer == made.answer:
                num_known += 1
            else:
                held[made.image_id][made.who] = made
                taken.corrections.append(made)
    return dataclasses.replace(taken, num_known=num_known)


def _find(
    answers: Sequence[Answer], workdir: workdirs.Workdir
) -> dict[str, list[places.Place]]:
    """Return an answer's image -> the images of the run that it may mean."""
    ids = {text: _id(text) for text in {each.image for each in answers}}
    by_id = places.find_ids(workdir, [each for each in ids.values() if each])
    named = [text for text, image_id in ids.items() if not image_id]
    found = places.find_names(workdir, named)
    for text, image_id in ids.items():
        if image_id in by_id:
            found[text] = [by_id[image_id]]
    return found


def _id(text: str) -> bytes:
    """Return the bytes of an id in hex; none of anything else."""
    try:
        return bytes.fromhex(text) if len(text) == 32 else b""
    except ValueError:
        return b""


def _correction(
    answer: Answer, image_id: bytes, who: str, now: datetime.datetime
) -> corrections.Correction:
    return corrections.Correction(
        image_id=image_id,
        decision="class" if answer.class_name is not None else "none",
        class_name=answer.class_name,
        who=answer.who or who,
        when=answer.when or now,
    )
