"""A server of objects on this machine, as slow and as unreliable as asked.

It speaks as much of the interface of Google's storage as TensorFlow's own file
system for `gs://` asks for, so that what is counted is what a run would send.
The file system knows no other address than Google's; the server is the proxy
that it reaches them by, and answers in their place:

    with object_server.serve(object_store.Behavior()) as store:
        os.environ.update(store.environment)

before TensorFlow is imported. Nothing leaves the machine. Every answer waits
for the latency first, and its bytes go out at the rate of one stream.
"""

import contextlib
import http.server
import json
import re
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from benchmarks import object_store

_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_COPY = re.compile(
    r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)"
)
_OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_PIECE_BYTES = 1 << 20
_HOSTS = ("www.googleapis.com", "storage.googleapis.com")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: object_store.Store
    context: ssl.SSLContext

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_CONNECT(self) -> None:
        """Go on as the host that is asked for."""
        self.send_response(200)
        self.end_headers()
        self.connection = self.context.wrap_socket(
            self.connection, server_side=True
        )
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def _asked(self) -> tuple[str, dict[str, str], bytes]:
        split = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(split.query))
        return split.path, query, self._content()

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while length := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, code: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self._send(content)

    def _send(self, content: bytes) -> None:
        began = time.monotonic()
        for first in range(0, len(content), _PIECE_BYTES):
            self.wfile.write(content[first : first + _PIECE_BYTES])
            sent = min(first + _PIECE_BYTES, len(content))
            ahead = sent / self.store.behavior.bytes_per_second
            time.sleep(max(0.0, began + ahead - time.monotonic()))
        self.store.sent_bytes += len(content)

    def _json(self, content: Any) -> None:
        self._answer(
            200, json.dumps(content).encode(), Content_Type="application/json"
        )

    def _refuse(self, kind: str) -> bool:
        if not self.store.count(kind):
            return False
        self._answer(503, b'{"error": {"code": 503, "message": "busy"}}')
        return True

    def _not_found(self) -> None:
        self._answer(404, b'{"error": {"code": 404, "message": "no object"}}')

    def do_GET(self) -> None:
        """List, describe or read."""
        path, query, _ = self._asked()
        listed, found = _LIST.fullmatch(path), _OBJECT.fullmatch(path)
        if listed:
            if not self._refuse("list"):
                self._json(self.store.listed(listed[1], query))
            return
        if found is None and _BUCKET.fullmatch(path):
            if not self._refuse("bucket"):
                self._json({"kind": "storage#bucket", "name": path[14:]})
            return
        name = urllib.parse.unquote(
            f"{found[1]}/{found[2]}" if found else path[1:]
        )
        is_read = found is None or query.get("alt") == "media"
        if self._refuse("read" if is_read else "describe"):
            return
        if name not in self.store.objects:
            self._not_found()
        elif is_read:
            self._read(name)
        else:
            self._json(self.store.describe(name))

    def _read(self, name: str) -> None:
        length = self.store.length(name)
        first, end, code = 0, length, 200
        wanted = re.fullmatch(
            r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""
        )
        if wanted:
            code, first = 206, int(wanted[1])
            if first >= length:
                self._answer(416, Content_Range=f"bytes */{length}")
                return
            end = min(int(wanted[2]) + 1, length) if wanted[2] else length
        content = self.store.part(name, first, end)
        headers = {"x_goog_generation": "1"}
        if wanted:
            headers["Content_Range"] = f"bytes {first}-{end - 1}/{length}"
        if self.store.is_cut():
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self._send(content[: len(content) // 2])
            self.close_connection = True
            return
        self._answer(code, content, **headers)

    def do_PUT(self) -> None:
        """Write an object, or a part of a session's."""
        path, query, content = self._asked()
        if self._refuse("write"):
            return
        if "upload_id" not in query:
            self._put(urllib.parse.unquote(path[1:]), content)
            return
        name, collected = self.store.sessions[query["upload_id"]]
        collected.extend(content)
        stated = self.headers.get("Content-Range", "")
        if stated.endswith("/*"):
            self._answer(308, Range=f"bytes=0-{len(collected) - 1}")
        else:
            self._put(name, bytes(collected))

    def _put(self, name: str, content: bytes) -> None:
        self.store.put(name, content)
        self._json(self.store.describe(name))

    def do_POST(self) -> None:
        """Begin a session, write in one request, or copy."""
        path, query, content = self._asked()
        copied, upload = _COPY.fullmatch(path), _UPLOAD.fullmatch(path)
        if copied:
            if not self._refuse("copy"):
                self._copy(*map(urllib.parse.unquote, copied.groups()))
            return
        if self._refuse("write"):
            return
        if upload is None:
            self._not_found()
            return
        name = query.get("name") or json.loads(content or b"{}").get("name", "")
        name = f"{upload[1]}/{name}"
        if query.get("uploadType") == "resumable":
            session = str(len(self.store.sessions))
            self.store.sessions[session] = (name, bytearray())
            host = self.headers["Host"]
            address = f"https://{host}{path}?upload_id={session}"
            self._answer(200, Location=address)
        elif query.get("uploadType") == "multipart":
            self._put(name, self._last_part(content))
        else:
            self._put(name, content)

    def _last_part(self, content: bytes) -> bytes:
        stated = self.headers.get("Content-Type", "")
        boundary = stated.partition("boundary=")[2].strip('"').encode()
        part = content.split(b"--" + boundary)[2]
        return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")

    def _copy(self, bucket: str, key: str, other: str, new: str) -> None:
        source, destination = f"{bucket}/{key}", f"{other}/{new}"
        if source not in self.store.objects:
            self._not_found()
            return
        self.store.put(destination, self.store.objects[source])
        length = str(self.store.length(source))
        self._json(
            {
                "kind": "storage#rewriteResponse",
                "done": True,
                "objectSize": length,
                "totalBytesRewritten": length,
                "resource": self.store.describe(destination),
            }
        )

    def do_DELETE(self) -> None:
        """Remove an object."""
        path, _, _ = self._asked()
        if self._refuse("remove"):
            return
        found = _OBJECT.fullmatch(path)
        name = urllib.parse.unquote(f"{found[1]}/{found[2]}" if found else "")
        if self.store.remove(name):
            self._answer(204)
        else:
            self._not_found()


@contextlib.contextmanager
def serve(
    behavior: object_store.Behavior,
) -> Iterator[object_store.Store]:
    """Serve objects at a free port until the block ends."""
    store = object_store.Store(behavior)
    with tempfile.TemporaryDirectory() as directory:
        certificate = f"{directory}/certificate.pem"
        context = _make_certificate(certificate)
        attributes = {"store": store, "context": context}
        handler = type("Handler", (_Handler,), attributes)
        server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
        server.daemon_threads = True
        address = f"http://localhost:{server.server_address[1]}"
        store.environment = {
            "https_proxy": address,
            "no_proxy": "",
            "CURL_CA_BUNDLE": certificate,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "NO_GCE_CHECK": "true",
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield store
        finally:
            server.shutdown()
            server.server_close()


def _make_certificate(path: str) -> ssl.SSLContext:
    """Write a certificate that this server alone can use."""
    key = f"{path}.key"
    names = ",".join(f"DNS:{host}" for host in _HOSTS)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=localhost", "-days", "2"),
            *("-addext", f"subjectAltName={names}"),
            *("-keyout", key, "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    return context
