"""Object stores and web servers, through obstore.

obstore asks once here (`max_retries=0`): trying again is retry.py's, so that it is bounded and the same for
all stores, and so that a PUT is never repeated without looking whether the first one arrived.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from actlens.errors import AddressError, MissingDependency
from actlens.remote.address import WEB, Address
from actlens.remote.store import Absent, Bytes, Changed, Listed, PastTheEnd, Piece, StoreError, Taken

TIMEOUT = 60  # seconds for one request; ACTLENS_TIMEOUT

_ONCE: Any = {"max_retries": 0}
_PREFIXES = {"s3": "AWS", "s3a": "AWS", "gs": "GOOGLE", "http": "HTTP", "https": "HTTP"}
_CLIENT = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "proxy_excludes")
_STATUS = re.compile(r"status code: (\d{3})((?: [A-Z][A-Za-z-]*)*)")
_CAUSES = {  # what the library's description of an error holds → what to say, and whether to try again
    "TimedOut": ("no answer in time", True),
    "ConnectionRefused": ("connection refused", True),
    "ConnectionReset": ("connection reset", True),
    "dns error": ("the name of the server is not known", True),
    "BadScheme": ("the server is addressed with http://, which AWS_ALLOW_HTTP=true must allow", False),
    "request or response body": ("the answer broke off", True),
    "error sending request": ("the connection broke", True),
    "Requested ": ("the answer was another range than was asked for", True),
    "Content-Length": ("the server does not say how long the file is", False),
    "credential": ("no credentials were found", False),
    "redirect": ("the server points elsewhere: the region or the endpoint is wrong", False),
}
_used_by: dict[str, int] = {}
_KINDS: dict[str, Callable[[], StoreError]] = {
    "AlreadyExistsError": lambda: Taken("the server answered that there is a conflict", again=True),
    "PreconditionError": lambda: Changed("it is another object now"),
    "NotSupportedError": lambda: StoreError("the server gives no ranges of a file"),
}


class ObjectStore:
    """A bucket, or a web server, from one address on."""

    def __init__(self, at: Address) -> None:
        self._at = at
        self._web = at.scheme in WEB
        self._store = _opened(at)
        self._prefix = "" if self._web or not at.path else at.path + "/"
        self._obs = _obstore()

    def whole(self, path: str, limit: int) -> bytes:
        """Give an object, or its first `limit` bytes."""
        with self._errors():
            found = self._obs.get(self._store, self._prefix + path)
            if found.meta["size"] <= limit:
                return bytes(found.bytes())
            return bytes(self.part(path, 0, limit).content)

    def part(self, path: str, begin: int, end: int, tag: str = "") -> Piece:
        """Give a range of an object."""
        options: dict[str, Any] = {"range": (begin, end)}
        if tag.startswith('"'):  # a weak tag, W/"…", never matches
            options["if_match"] = tag
        with self._errors():
            found = self._ranged(self._prefix + path, options)
            piece = Piece(memoryview(found.bytes()), found.meta["size"], _tag(found.meta["e_tag"]))
        if tag and piece.tag and piece.tag != tag:
            raise Changed("it is another object now")
        return piece

    def _ranged(self, path: str, options: Any) -> Any:
        try:
            return self._obs.get(self._store, path, options=options)
        except self._obs.exceptions.NotSupportedError:
            if self._obs.head(self._store, path)["size"] == 0:  # of nothing, some servers give no range
                raise PastTheEnd("it ends before") from None
            raise

    def listing(self, folder: str) -> dict[str, Listed] | None:
        """Give all objects under a folder; None of a web server."""
        if self._web:
            return None
        with self._errors(bucket=True):
            found = self._obs.list(self._store, prefix=self._prefix + folder, chunk_size=1000).collect()
        cut = len(self._prefix)
        return {one["path"][cut:]: Listed(one["size"], _tag(one["e_tag"])) for one in found}

    def names(self, folder: str) -> list[str]:
        """Give the names in a folder, those of its folders with '/' at the end."""
        prefix = (self._prefix + folder).strip("/")
        with self._errors(bucket=True):
            found = self._obs.list_with_delimiter(self._store, prefix=prefix or None)
        cut = len(prefix) + 1 if prefix else 0
        folders = [name.strip("/")[cut:] + "/" for name in found["common_prefixes"]]
        return sorted(folders + [one["path"][cut:] for one in found["objects"]])

    def put(self, path: str, content: Bytes, marks: Mapping[str, str], *, create: bool) -> str:
        """Put an object in one request: it is there whole, or not at all."""
        with self._errors(bucket=True):
            done = self._obs.put(
                self._store,
                self._prefix + path,
                content,
                attributes=dict(marks),
                mode="create" if create else "overwrite",
                use_multipart=False,
            )
        return _tag(done["e_tag"])

    def marks(self, path: str) -> dict[str, str]:
        """Give what was noted beside an object when it was put."""
        with self._errors():
            found = self._obs.get(self._store, self._prefix + path, options={"head": True})
            return {str(name).lower(): value for name, value in found.attributes.items()}

    def delete(self, path: str) -> None:
        """Remove an object."""
        with self._errors():
            self._obs.delete(self._store, self._prefix + path)

    @contextlib.contextmanager
    def _errors(self, *, bucket: bool = False) -> Iterator[None]:
        _refuse_after_fork()
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError:
            if bucket:
                raise StoreError("there is no such bucket") from None
            raise Absent("it does not exist") from None
        except Exception as error:
            if bucket and "status code: 404" in str(error):
                raise StoreError("there is no such bucket") from None
            raise _translated(error, self._obs.exceptions) from None


def _refuse_after_fork() -> None:
    """Refuse what would never end: the threads of obstore do not live on in a forked process."""
    user = _used_by.setdefault("process", os.getpid())
    if user != os.getpid():
        raise StoreError(
            "this process was forked from one that had used obstore, whose threads are not here: start "
            "processes with 'spawn' or 'forkserver' (DataLoader(…, multiprocessing_context='spawn'))"
        )


def _translated(error: Exception, known: Any) -> StoreError:
    """Say what happened, without the library's text: that has addresses in it, secrets and all."""
    text = str(error)
    match = _STATUS.search(text)
    for kind, said in _KINDS.items():
        if isinstance(error, getattr(known, kind)):
            return said()
    if match is not None:
        status = int(match[1])
        if status == 416:
            return PastTheEnd("it ends before")
        again = status >= 500 or status in {408, 409, 425, 429}
        return StoreError(f"the server answered {status}{match[2]}", again=again)
    for sign, (reason, again) in _CAUSES.items():
        if sign in text:
            return StoreError(reason, again=again)
    return StoreError(f"the request failed ({type(error).__name__})")


def _tag(tag: str | None) -> str:
    """Give a tag in quotes, as requests have it; some listings leave them out."""
    return f'"{tag}"' if tag and '"' not in tag else tag or ""


def _opened(at: Address) -> Any:
    obs = _obstore()
    prefix = _PREFIXES.get(at.scheme, "AZURE")
    given = {name: os.environ.get(f"{prefix}_{name.upper()}") for name in _CLIENT}
    options = {"timeout": f"{_timeout()}s"} | {name: value for name, value in given.items() if value}
    try:
        if at.scheme in WEB:
            allow = {"allow_http": "true"} if at.scheme == "http" else {}
            address = f"{at.root}/{at.path}{at.query}"
            return obs.store.HTTPStore(address, client_options=options | allow, retry_config=_ONCE)
        return obs.store.from_url(at.root, client_options=options, retry_config=_ONCE)
    except Exception as error:
        account = "Account must be specified" in str(error)
        why = "AZURE_STORAGE_ACCOUNT_NAME is not set" if account else "obstore does not take it"
        raise AddressError.of(at, f"{why} ({type(error).__name__})") from None


def _timeout() -> int:
    given = os.environ.get("ACTLENS_TIMEOUT", "").strip()
    if not given:
        return TIMEOUT
    if not given.isdecimal() or int(given) < 1:
        raise AddressError.timeout(given)
    return int(given)


def _obstore() -> Any:
    try:
        import obstore
        import obstore.store
    except ModuleNotFoundError as error:
        raise MissingDependency.for_feature("reading an address", "obstore", "remote") from error
    return obstore
