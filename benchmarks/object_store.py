"""Objects in memory, as `object_server` answers for them, and counts.

A name can stand for a length alone, whose content is zeros.
"""

import bisect
import collections
import dataclasses
import itertools
import threading
import time
from typing import Any

_PAGE = 1000


@dataclasses.dataclass
class Behavior:
    """How the server answers; may be changed while it runs.

    Attributes:
        latency_seconds: Before every answer.
        bytes_per_second: Of one answer.
        refuse_every: Every n-th request gets a 503; 0: none.
        cut_every: Every n-th read of content ends after half; 0: none.
    """

    latency_seconds: float = 0.06
    bytes_per_second: float = 100e6
    refuse_every: int = 0
    cut_every: int = 0


class Store:
    """Objects, and counts of what was asked for."""

    def __init__(self, behavior: Behavior) -> None:
        """Begin empty."""
        self.behavior = behavior
        self.environment: dict[str, str] = {}
        self.objects: dict[str, bytes | int] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.sent_bytes = 0
        self._lock = threading.Lock()
        self._sorted: list[str] | None = None
        self._num_requests = 0
        self._num_reads = 0
        self.sessions: dict[str, tuple[str, bytearray]] = {}

    def count(self, kind: str) -> bool:
        """Count a request; tell whether it is to be refused."""
        with self._lock:
            self.counts[kind] += 1
            self._num_requests += 1
            every = self.behavior.refuse_every
            is_refused = bool(every) and self._num_requests % every == 0
            self.counts["refused"] += is_refused
        time.sleep(self.behavior.latency_seconds)
        return is_refused

    def is_cut(self) -> bool:
        """Tell whether this read is to end too soon."""
        with self._lock:
            self._num_reads += 1
            every = self.behavior.cut_every
            is_cut = bool(every) and self._num_reads % every == 0
            self.counts["cut"] += is_cut
        return is_cut

    def take_counts(self) -> dict[str, int]:
        """Return the requests since it was last asked, by their kind."""
        with self._lock:
            counts, self.counts = dict(self.counts), collections.Counter()
        return {name: count for name, count in counts.items() if count}

    def length(self, name: str) -> int:
        """Return the length of an object that is there."""
        content = self.objects[name]
        return content if isinstance(content, int) else len(content)

    def part(self, name: str, first: int, end: int) -> bytes:
        """Return bytes of an object."""
        content = self.objects[name]
        if isinstance(content, int):
            return bytes(max(0, min(end, content) - first))
        return content[first:end]

    def describe(self, name: str) -> dict[str, Any]:
        """Return what the interface says of an object."""
        bucket, _, key = name.partition("/")
        return {
            "kind": "storage#object",
            "name": key,
            "bucket": bucket,
            "size": str(self.length(name)),
            "generation": "1",
            "metageneration": "1",
            "updated": "2025-01-01T00:00:00Z",
            "timeCreated": "2025-01-01T00:00:00Z",
        }

    def put(self, name: str, content: bytes | int) -> None:
        """Keep an object, or the length of one."""
        with self._lock:
            self.objects[name] = content
            self._sorted = None

    def remove(self, name: str) -> bool:
        """Remove an object; tell whether it was there."""
        with self._lock:
            self._sorted = None
            return self.objects.pop(name, None) is not None

    def _names(self) -> list[str]:
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self.objects)
            return self._sorted

    def listed(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """Return a page of a listing."""
        prefix = f"{bucket}/{query.get('prefix', '')}"
        delimiter = query.get("delimiter", "")
        most = min(int(query.get("maxResults", _PAGE)), _PAGE)
        names = self._names()
        first = bisect.bisect_left(names, prefix)
        first = max(
            first, bisect.bisect_right(names, query.get("pageToken", ""))
        )
        items: list[dict[str, Any]] = []
        prefixes: set[str] = set()
        last = ""
        answer: dict[str, Any] = {"kind": "storage#objects"}
        for name in itertools.islice(names, first, None):
            if not name.startswith(prefix):
                break
            if len(items) + len(prefixes) >= most:
                answer["nextPageToken"] = last
                break
            rest, last = name[len(prefix) :], name
            if delimiter and delimiter in rest:
                directory = prefix + rest.split(delimiter)[0] + delimiter
                prefixes.add(directory.partition("/")[2])
            else:
                items.append(self.describe(name))
        return {**answer, "items": items, "prefixes": sorted(prefixes)}
