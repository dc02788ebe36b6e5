"""What a server does with a picture: its limits, and the model behind them."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi
import numpy as np
from starlette import concurrency

from noisy_student_tf.records import pictures
from noisy_student_tf.serving import (
    batching,
    guards,
    metrics,
    prediction_log,
    reloading,
    runtimes,
)

_NUM_SHOWN = 10
_REFUSED = (
    "This is not a picture that can be decoded. Accepted are "
    f"{pictures.ACCEPTED}."
)
_RETRY_SECONDS = 1
# Photographs have ten at most. Each takes as long as the whole picture does,
# and may be a few bytes long.
_MAX_SCANS = 100
_SCAN = b"\xff\xda"


def _ignore(request: guards.Request) -> None:
    del request


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a server serves.

    Attributes:
        batches: How many pictures go together, and wait.
        requests: What one request may take.
        max_pixels: Of a picture; larger ones are refused undecoded.
        token: That requests have to send; empty: none.
        reload_seconds: How often a newer export is looked for; 0: never.
        runtime: What classifies, one of `runtimes.NAMES`.
        log: What is kept of what was answered; None: nothing.
        tell: Is told of every request that was answered.
    """

    batches: batching.Limits = dataclasses.field(
        default_factory=batching.Limits
    )
    requests: guards.Limits = dataclasses.field(default_factory=guards.Limits)
    max_pixels: int = 50_000_000
    token: str = ""
    reload_seconds: float = 0.0
    runtime: str = runtimes.SAVED_MODEL
    log: prediction_log.Settings | None = None
    tell: Callable[[guards.Request], None] = _ignore


class Server:
    """What the routes share."""

    def __init__(self, path: str, settings: Settings) -> None:
        """Open an export; see `app.make_app`."""
        self.settings = settings
        self.metrics = metrics.Metrics()
        self.log = None
        if settings.log:
            self.log = prediction_log.PredictionLog(settings.log)
        self.models = reloading.Models(
            path,
            runtime=settings.runtime,
            log=self.log,
            count_reload=self.metrics.count_reload,
        )
        self.batcher = batching.Batcher(
            self.models.classify,
            settings.batches,
            count_batch=self.metrics.count_batch,
        )
        self.metrics.watch_waiting(lambda: self.batcher.num_waiting)
        self.is_ready = False

    @contextlib.asynccontextmanager
    async def lifespan(self, app: fastapi.FastAPI) -> AsyncIterator[None]:
        """Answer from the start to the end of the application."""
        async with self.batcher.running(), asyncio.TaskGroup() as tasks:
            watching = []
            if seconds := self.settings.reload_seconds:
                watching.append(tasks.create_task(self.models.watch(seconds)))
            if self.log:
                writing = self.log.write_now_and_then()
                watching.append(tasks.create_task(writing))
            self.is_ready = True
            yield
            self.is_ready = False
            for task in watching:
                task.cancel()
        if self.log:
            self.log.write()

    def tell(self, request: guards.Request) -> None:
        """Count and log a request."""
        self.metrics.count_request(request)
        self.settings.tell(request)

    async def predict(self, encoded: list[bytes]) -> list[reloading.Answer]:
        """Return what the model says of pictures that the graph decodes.

        Raises:
            fastapi.HTTPException: There are too many, or too many wait.
        """
        limit = self.settings.batches.max_waiting
        if len(encoded) > limit:
            raise fastapi.HTTPException(
                413, f"More than {limit} pictures. Send fewer at once."
            )
        try:
            answers = await self.batcher.answer(encoded)
        except batching.QueueFullError as error:
            raise fastapi.HTTPException(
                503,
                f"{error} Try again later.",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            ) from error
        for each in answers:
            self.metrics.count_picture(each.prediction.is_valid)
        return answers

    async def classify(self, encoded: bytes) -> dict[str, Any]:
        """Return the answer to one picture.

        Raises:
            fastapi.HTTPException: It is no picture, or too large.
        """
        if not encoded:
            raise fastapi.HTTPException(
                400,
                "The request is empty. Send the bytes of a picture as its "
                "body.",
            )
        try:
            decodable = await concurrency.run_in_threadpool(
                self._to_decodable, encoded
            )
        except pictures.TooLargeError as error:
            raise fastapi.HTTPException(
                413, f"The picture is too large: {error}. Send a smaller one."
            ) from error
        except pictures.CorruptImageError as error:
            raise fastapi.HTTPException(415, f"{_REFUSED} ({error})") from error
        (answer,) = await self.predict([decodable])
        if not answer.prediction.is_valid:
            raise fastapi.HTTPException(415, _REFUSED)
        return describe(answer)

    async def decodable_or_nothing(self, encoded: bytes) -> bytes:
        """Return what the graph decodes, or what it marks as invalid."""
        try:
            return await concurrency.run_in_threadpool(
                self._to_decodable, encoded
            )
        except pictures.CorruptImageError:
            return b""

    def _to_decodable(self, encoded: bytes) -> bytes:
        limit = self.settings.max_pixels
        header = pictures.read_header(encoded)
        width, height = header.size
        if width * height > limit:
            raise pictures.TooLargeError(limit)
        if header.kind == "jpeg" and encoded.count(_SCAN) > _MAX_SCANS:
            raise pictures.CorruptImageError(
                f"a JPEG of more than {_MAX_SCANS} scans"
            )
        return pictures.to_decodable(encoded, is_kept=False)


def describe(answer: reloading.Answer) -> dict[str, Any]:
    """Return the class of a picture, and the most probable ones."""
    prediction, class_names = answer
    order = np.argsort(-prediction.probabilities, kind="stable")[:_NUM_SHOWN]
    return {
        "class": prediction.class_index,
        "class_name": prediction.class_name,
        "probabilities": [
            {
                "class_name": class_names[i],
                "probability": float(prediction.probabilities[i]),
            }
            for i in order
        ],
    }
