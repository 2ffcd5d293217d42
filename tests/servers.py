"""Servers for the tests of recordings elsewhere: nginx, moto's S3, and a proxy that spoils answers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  log_format plain '$request_method $uri $status $http_range $http_if_match';
  access_log {folder}/access.log plain;
  server {{ listen 127.0.0.1:{port}; root {root};
    location /private/ {{ return 403; }}
    location /plain/ {{ alias {root}/; max_ranges 0; }}
  }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        assert process.poll() is None, "the server ended"
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(port, process)
            yield
        finally:
            process.terminate()


@dataclasses.dataclass
class Nginx:
    address: str
    log: Path

    def requests(self) -> list[str]:
        """The lines of the access log since the last call."""
        time.sleep(0.05)
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines


@contextlib.contextmanager
def nginx(root: Path, folder: Path) -> Iterator[Nginx]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (apt install nginx-light)")
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""  # else its worker could not read the test's folders
    (folder / "nginx.conf").write_text(user + _NGINX.format(folder=folder, root=root, port=port))
    command = [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    with _running(command, port, folder / "output.log"):
        yield Nginx(f"http://127.0.0.1:{port}", folder / "access.log")


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[int]:
    beside = Path(sys.executable).parent / "moto_server"
    program = (
        os.environ.get("MOTO_SERVER") or shutil.which("moto_server") or (beside if beside.exists() else None)
    )
    if program is None:
        pytest.skip(
            "moto is not installed (pip install 'moto[s3,server]'; MOTO_SERVER names its moto_server)"
        )
    port = free_port()
    with _running([str(program), "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        yield port


FAULTS = ("lost", "busy", "cut", "conflict", "reset")


class FaultProxy:
    """Stands before an HTTP server, passes requests on, counts them, and spoils some.

    `plan` names the fault of the next requests, one each, "" for none; after it, `rate` of them are spoilt at
    random. Faults: "lost" (passed on, and the answer dropped), "busy" (503, not passed on), "error" (500),
    "conflict" (409), "cut" (half of the answer), "stall" (no answer for `stall` seconds), "reset" (nothing is
    passed on), "slow" (passed on after `stall` seconds), "shift" (another range is announced).
    """

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.plan: list[str] = []
        self.rate = 0.0
        self.faults: tuple[str, ...] = FAULTS
        self.stall = 3.0
        self.only = ""  # a method that is spoilt, and no other
        self.seen: list[tuple[str, str, str]] = []
        self.lengths: list[int] = []
        self.spoilt: list[str] = []
        self.under_way = self.most_under_way = 0
        self._random = random.Random(0)
        self._lock = threading.Lock()

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.request_queue_size = 128
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def requests(self) -> list[tuple[str, str, str]]:
        """(method, path, range) of the requests since the last call."""
        with self._lock:
            seen, self.seen = self.seen, []
            return seen

    def fault(self, method: str, path: str, wanted: str) -> str:
        with self._lock:
            self.seen.append((method, path, wanted))
            if self.only and method != self.only:
                return ""
            if self.plan:
                fault = self.plan.pop(0)
            else:
                fault = self._random.choice(self.faults) if self._random.random() < self.rate else ""
            if fault:
                self.spoilt.append(fault)
            return fault

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        with self._lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def handle_any(self) -> None:
        with self.owner.counting():
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = self.owner.fault(self.command, self.path, self.headers.get("range", ""))
            self._answer(fault, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

    def _answer(self, fault: str, body: bytes) -> None:
        if fault in {"stall", "slow"}:
            time.sleep(self.owner.stall)
        if fault in {"stall", "reset"}:
            return self._hang_up()
        if fault in {"busy", "error", "conflict", "forbidden"}:
            status = {"busy": 503, "error": 500, "conflict": 409, "forbidden": 403}[fault]
            return self._send(status, [], b"<Error><Code>secret-in-body</Code></Error>")
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.upstream)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        if fault == "lost":
            return self._hang_up()
        headers = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOP]
        if fault == "shift":
            headers = [(name, value.replace("bytes ", "bytes 1")) for name, value in headers]
        length = answer.getheader("content-length") if self.command == "HEAD" else None
        self.owner.lengths.append(len(content))
        return self._send(answer.status, headers, content, cut=fault == "cut", length=length)

    def _send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        *,
        cut: bool = False,
        length: str | None = None,
    ) -> None:
        with contextlib.suppress(OSError):  # the client is gone: it had enough of waiting
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None: ...


_HOP = {"content-length", "transfer-encoding", "connection", "keep-alive"}
