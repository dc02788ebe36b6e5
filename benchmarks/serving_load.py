"""A server under load, beside the bare model and a plain server.

1, 8 and 64 clients on the loopback address send a JPEG, wait for the answer and
send the next one, for `--seconds` each, to `run_scripts.serve` and to what is
written first: FastAPI with `keras.Model.predict` of one picture a request. The
limit is the SavedModel's `serving_default` in a process of its own, batches of
32 of the same file. Clients share the cores with what they ask.

    python -m benchmarks.serving_load --model=efficientnet-lite0

All answers have to be the same. Throughput in pictures a second, p50
and p99 in milliseconds; the last line is one JSON object:
`over_bare_model` is of the server with most clients.
"""

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from absl import app, flags
from PIL import Image

from benchmarks import photographs

flags.DEFINE_list("clients", ["1", "8", "64"], "Numbers of clients.")
flags.DEFINE_float("load_seconds", 60.0, "Of each number of clients.", 0.1)

_WORKER = "benchmarks.serving_load_worker"
_START_SECONDS = 180
_PICTURE_SIZE = {"width": 500, "height": 375}


@dataclasses.dataclass(frozen=True)
class Load:
    """What some clients saw.

    Attributes:
        per_second: Pictures that were answered.
        p50_ms: Median time of an answer.
        p99_ms: Time that one of a hundred exceeds.
    """

    per_second: float
    p50_ms: float
    p99_ms: float


def main(_: list[str]) -> None:
    """Measure, print a table, and the ratios as JSON."""
    buffer = io.BytesIO()
    (pixels,) = photographs.crops(1, **_PICTURE_SIZE)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    picture = buffer.getvalue()
    numbers = [int(each) for each in flags.FLAGS.clients]
    loads: dict[str, dict[int, Load]] = {}
    with tempfile.TemporaryDirectory() as directory:
        export = os.path.join(directory, "export")
        _run_worker("export", export)
        path = os.path.join(directory, "picture.jpg")
        with open(path, "wb") as file:
            file.write(picture)
        bare = float(_run_worker("bare", export, path))
        print(f"bare model: {bare:.1f} pictures/s", flush=True)
        for name, command in _servers(export).items():
            with _running(command) as port:
                loads[name] = {
                    count: asyncio.run(_load(port, picture, count))
                    for count in numbers
                }
            for count, load in loads[name].items():
                print(f"{name}, {count} clients: {_describe(load)}", flush=True)
    print(json.dumps(_summary(bare, loads)))


def _servers(export: str) -> dict[str, list[str]]:
    serve = ["-m", "run_scripts.serve", f"--export={export}", "--noaccess_log"]
    return {
        "serve": [sys.executable, *serve],
        "plain": [sys.executable, "-m", _WORKER, *_model_flags(), "plain"],
    }


def _model_flags() -> list[str]:
    values = flags.FLAGS
    name, *_ = values.model
    return [f"--model={name}", f"--resolution={values.resolution}"]


def _run_worker(*words: str) -> str:
    """Return the last line that a worker prints."""
    command = [sys.executable, "-m", _WORKER, *_model_flags(), *words]
    finished = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    )
    return (finished.stdout.splitlines() or [""])[-1]


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[int]:
    """Run a server; yield its port once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command[:3], f"--port={port}", *command[3:]])
    try:
        end = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command} did not start.")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz"):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


async def _load(port: int, picture: bytes, num_clients: int) -> Load:
    """Let clients ask for a while, after one answer to each."""
    seen: set[str] = set()
    seconds: list[float] = []
    end = time.monotonic() + flags.FLAGS.load_seconds

    async def ask_on() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            started = time.monotonic()
            answer = await _ask(reader, writer, picture)
            seconds.append(time.monotonic() - started)
            seen.add(answer)
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(ask_on() for _ in range(num_clients)))
    took = time.monotonic() - began
    if len(seen) != 1:
        raise RuntimeError(f"answers to the same picture differ: {seen}")
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return Load(len(seconds) / took, 1000 * cuts[49], 1000 * cuts[98])


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, picture: bytes
) -> str:
    """Send a picture; return the name of the class that comes back."""
    head = (
        "POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    )
    writer.write(head.encode() + picture)
    await writer.drain()
    answer_head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer_head.partition(b"\r\n")[0]:
        raise RuntimeError(f"refused: {answer_head!r}")
    length = next(
        int(line.partition(b":")[2])
        for line in answer_head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    return json.loads(await reader.readexactly(length))["class_name"]


def _describe(load: Load) -> str:
    return (
        f"{load.per_second:.1f} pictures/s, p50 {load.p50_ms:.1f} ms, p99 "
        f"{load.p99_ms:.1f} ms"
    )


def _summary(bare: float, loads: dict[str, dict[int, Load]]) -> dict:
    most = max(loads["serve"])
    ratios = {
        f"over_plain_{count}_clients": round(
            loads["serve"][count].per_second / load.per_second, 3
        )
        for count, load in loads["plain"].items()
    }
    return {
        "over_bare_model": round(loads["serve"][most].per_second / bare, 3),
        **ratios,
        "bare_per_second": round(bare, 1),
        "loads": {
            name: {n: dataclasses.asdict(load) for n, load in each.items()}
            for name, each in loads.items()
        },
    }


if __name__ == "__main__":
    from benchmarks import serving  # noqa: F401  Its flags name the model.

    app.run(main)
