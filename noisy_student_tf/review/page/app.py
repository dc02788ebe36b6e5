"""A page and its JSON for deciding on pictures, for this machine alone.

Every address begins with a token. Requests to another host's name or from
another page are refused, so that no web site that is open beside it can ask.
"""

import dataclasses
import hmac
import io
import pathlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import fastapi
import pydantic
from fastapi import responses

from noisy_student_tf.records import corrections, pictures
from noisy_student_tf.review import stored
from noisy_student_tf.review.page import answers
from noisy_student_tf.review.queues import entries

# Of a tile, and of the picture that is decided on; for fine screens.
SIDES = {"tile": 256, "whole": 1024}
_FOLDER = pathlib.Path(__file__).parent
_ASSETS = {
    "page.css": "text/css",
    **dict.fromkeys(("page.js", "grid.js", "state.js"), "text/javascript"),
}
_FULL_DISK = 507
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; "
        "script-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """What a page shows, and where its answers go.

    Attributes:
        run: Name of the run.
        class_names: Of the run.
        queues: In the order of the page.
        pictures: Reads them.
        answers: The file of decisions.
        token: First part of every address.
        port: That is listened on.
    """

    run: str
    class_names: list[str]
    queues: Sequence[entries.Queue]
    pictures: stored.Pictures
    answers: answers.Answers
    token: str
    port: int

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def queue(self, name: str) -> entries.Queue:
        """Return a queue by its name.

        Raises:
            HTTPException: There is none.
        """
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise fastapi.HTTPException(404, f"There is no queue {name!r}.")


class Decision(pydantic.BaseModel):
    """What was decided of an image: its class, or None for none of them."""

    model_config = pydantic.ConfigDict(extra="forbid")

    id: str
    class_name: str | None


class Batch(pydantic.BaseModel):
    """What was decided at once, of pictures of one queue."""

    model_config = pydantic.ConfigDict(extra="forbid")

    queue: str
    decisions: list[Decision]


def make_app(session: Session) -> fastapi.FastAPI:
    """Return the application: the page, its queues, pictures and answers."""
    app = fastapi.FastAPI(
        title="review", docs_url=None, redoc_url=None, openapi_url=None
    )
    router = fastapi.APIRouter(prefix=f"/{session.token}")
    _add_page(router)
    _add_queues(router, session)
    _add_answers(router, session)
    app.include_router(router)

    @app.middleware("http")
    async def guard(
        request: fastapi.Request,
        call_next: Callable[[fastapi.Request], Awaitable[responses.Response]],
    ) -> responses.Response:
        refusal = refuse(
            request.headers, request.url.path, session.token, session.port
        )
        response = refusal or await call_next(request)
        response.headers.update(HEADERS)
        return response

    return app


def refuse(
    headers: Mapping[str, str], path: str, token: str, port: int
) -> responses.Response | None:
    """Return what a request gets that is not the page's own, else None.

    Args:
        headers: Of the request.
        path: That it asks for.
        token: What the path has to begin with.
        port: That is listened on.
    """
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
    host, origin = headers.get("host", ""), headers.get("origin")
    if host not in hosts:
        return responses.PlainTextResponse(
            f"Host {host!r} is not {' or '.join(sorted(hosts))}: this page "
            "answers this machine alone.",
            403,
        )
    if origin is not None and origin != f"http://{host}":
        return responses.PlainTextResponse(
            f"Origin {origin!r} is another page.", 403
        )
    given = path.split("/")[1]
    if not hmac.compare_digest(given.encode(), token.encode()):
        return responses.PlainTextResponse(
            "The address lacks the token. Open the one that run_scripts.review "
            "printed when it started.",
            403,
        )
    return None


def _add_page(router: fastapi.APIRouter) -> None:
    @router.get("/", response_class=responses.HTMLResponse)
    def page() -> str:
        return (_FOLDER / "page.html").read_text("utf-8")

    @router.get("/{name}.{kind}")
    def asset(name: str, kind: str) -> responses.Response:
        file = f"{name}.{kind}"
        if file not in _ASSETS:
            raise fastapi.HTTPException(404, f"There is no {file}.")
        text = (_FOLDER / file).read_text("utf-8")
        return responses.Response(text, media_type=_ASSETS[file])


def _add_queues(router: fastapi.APIRouter, session: Session) -> None:
    @router.get("/session")
    def describe() -> dict[str, Any]:
        return {
            "run": session.run,
            "who": session.answers.who,
            "file": session.answers.path,
            "class_names": session.class_names,
            "queues": [_queue_json(queue) for queue in session.queues],
        }

    @router.get("/picture/{queue}/{number}")
    def picture(
        queue: str, number: int, size: str = "tile"
    ) -> responses.Response:
        shown = session.queue(queue).entries
        if not 0 <= number < len(shown) or size not in SIDES:
            raise fastapi.HTTPException(404, "There is no such picture.")
        try:
            encoded = session.pictures.read(shown[number].place)
            content, kind = shrink(encoded, SIDES[size])
        except (ValueError, OSError) as error:
            raise fastapi.HTTPException(
                410, f"This picture can no longer be read: {error}"
            ) from error
        return responses.Response(
            content,
            media_type=kind,
            headers={"Cache-Control": "private, max-age=3600"},
        )


def _queue_json(queue: entries.Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "title": queue.title,
        "about": queue.about,
        "model": queue.model,
        "missing": queue.missing,
        "entries": [
            {
                "id": entry.place.image_id.hex(),
                "key": entry.place.key,
                "best": entry.best,
                "label": entry.label,
                "suggested": entry.suggested,
                "why": entry.why,
            }
            for entry in queue.entries
        ],
    }


def shrink(encoded: bytes, side: int) -> tuple[bytes, str]:
    """Return a picture no larger than a square, and its media type.

    Small pictures stay lossless and as small as they are.

    Raises:
        CorruptImageError: It cannot be decoded.
    """
    picture = pictures.open_upright(encoded, draft_side=side)
    kind = "png" if max(picture.size) <= side else "jpeg"
    picture.thumbnail((side, side))
    output = io.BytesIO()
    picture.save(output, kind, quality=85)
    return output.getvalue(), f"image/{kind}"


def _add_answers(router: fastapi.APIRouter, session: Session) -> None:
    kept = session.answers

    @router.get("/answers")
    def read(since: int = 0) -> dict[str, Any]:
        kept.refresh()
        return _answers_json(kept, since)

    @router.post("/answers")
    def add(batch: Batch, since: int = 0) -> dict[str, Any]:
        decided, shown = _check(batch, session)
        _write(lambda: kept.add(decided, shown))
        return _answers_json(kept, since)

    @router.post("/undo")
    def undo(since: int = 0) -> dict[str, Any]:
        undone = _write(kept.undo)
        return {
            **_answers_json(kept, since),
            "undone": [each.hex() for each in undone],
        }


def _write(action: Callable[[], Any]) -> Any:
    """Do what writes; a disk that does not take it is told.

    Raises:
        HTTPException: It was not written.
    """
    try:
        return action()
    except OSError as error:
        raise fastapi.HTTPException(
            _FULL_DISK, f"Not saved: {error}. Make room, and decide again."
        ) from error


def _answers_json(kept: answers.Answers, since: int) -> dict[str, Any]:
    version = kept.version
    held = kept.since(since)
    return {
        "version": version,
        "answers": {
            image_id.hex(): _answer_json(held[image_id]) for image_id in held
        },
    }


def _answer_json(held: corrections.Correction | None) -> Any:
    if held is None:
        return None
    return {"class_name": held.class_name, "who": held.who}


def _check(
    batch: Batch, session: Session
) -> tuple[list[tuple[bytes, str | None]], list[dict[str, Any]]]:
    """Return what was decided, and what was shown of each.

    Raises:
        HTTPException: An image is not of the queue, or a class not of the run.
    """
    queue = session.queue(batch.queue)
    by_id = {entry.place.image_id.hex(): entry for entry in queue.entries}
    decided, shown = [], []
    for each in batch.decisions:
        entry = by_id.get(each.id)
        if entry is None:
            raise fastapi.HTTPException(
                422, f"{each.id} is no image of {queue.name}. Load the page."
            )
        name = each.class_name
        if name is not None and name not in session.class_names:
            raise fastapi.HTTPException(422, f"There is no class {name!r}.")
        decided.append((entry.place.image_id, name))
        shown.append(
            {
                "queue": queue.name,
                "model": queue.model,
                "best": [list(pair) for pair in entry.best],
                "label": entry.label,
            }
        )
    return decided, shown
