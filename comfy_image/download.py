"""Fetch one model file: resumed where it was cut, checked while it streams, put in its place in one step.

Theory of operation. Bytes are written to `.NAME.part` beside the target, and the lock that keeps two fetchers (or two
containers on one volume) apart is on that very file. Once complete and checked it is renamed to the target, so a file
with the model's name is always whole. A fetcher that waited for the lock finds its open file renamed or removed, sees
that by the inode, and looks again: usually the model is there by now. That a file was checked is noted in
`.NAME.checked`, with the size and time that it had, so that the next start does not read 20 GB again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from comfy_image import manifest, progress

_CHUNK = 1 << 20
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LONGEST_WAIT_S = 60.0


class FetchError(Exception):
    """The file cannot be had; the message says why and what to do."""


class DiskFull(FetchError):
    """No room for the file."""


class Stopped(FetchError):
    """Asked to stop; what was fetched so far is kept and resumed next time."""


class _TryAgain(Exception):
    """This attempt failed, the next may not; `wait_s` is what the server asked for."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to fetch: `retries` is how often in a row it may fail without a new byte."""

    retries: int = 6
    backoff_s: float = 1.0
    timeout_s: float = 30.0
    allow_unverified: bool = False


@dataclass(slots=True, kw_only=True)
class _Part:
    """The bytes so far, with the checksum over them."""

    file: BinaryIO
    digest: Any = field(default_factory=hashlib.sha256)
    is_pieced: bool = False  #: not all of them came in one answer

    @property
    def size(self) -> int:
        return self.file.tell()

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.digest.update(chunk)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.digest = hashlib.sha256()
        self.is_pieced = False


@dataclass(slots=True, kw_only=True)
class Fetch:
    """One model on its way to `root`."""

    model: manifest.Model
    root: Path
    manner: Manner
    report: progress.Report
    stop: threading.Event
    token: str | None = None

    @property
    def target(self) -> Path:
        """Where the model belongs."""
        return self.root / self.model.path

    @property
    def part(self) -> Path:
        """Where its bytes gather."""
        return self.target.with_name(f".{self.target.name}.part")

    def run(self) -> str:
        """See that the model is there: `present` or `fetched`."""
        try:
            if self.is_there():
                return "present"
            if self.model.sha256 is None and not self.manner.allow_unverified:
                raise FetchError("the manifest has no sha256 for it: add its publisher's, or give --allow-unverified")
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with self._own_part() as part:
                if self.is_there():
                    self.part.unlink(missing_ok=True)
                    return "present"
                self._download(part)
                os.fsync(part.file.fileno())
                self.part.replace(self.target)
        except OSError as error:
            raise _disk_error(error, self.target) from error
        self._note_checked()
        return "fetched"

    def is_there(self) -> bool:
        """Tell whether the target is the file that the manifest means, reading it only when it changed."""
        try:
            facts = self.target.stat()
        except FileNotFoundError:
            return False
        if self.model.size is not None and facts.st_size != self.model.size:
            return False
        if self.model.sha256 is None:
            return True
        if self._checked() == {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns, "sha256": self.model.sha256}:
            return True
        self.report.event("checking", str(self.model.path))
        with self.target.open("rb") as file:
            found = self._digest(file, facts.st_size).hexdigest()
        if found == self.model.sha256:
            self._note_checked()
        return found == self.model.sha256

    def _checked(self) -> Any:
        try:
            return json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return None

    def _note_checked(self) -> None:
        """Remember the check; a folder that cannot be written to only costs the next start some reading."""
        if self.model.sha256 is None:
            return
        facts = self.target.stat()
        note = {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns, "sha256": self.model.sha256}
        with contextlib.suppress(OSError):
            self._note.write_text(json.dumps(note))

    @property
    def _note(self) -> Path:
        return self.target.with_name(f".{self.target.name}.checked")

    @contextlib.contextmanager
    def _own_part(self) -> Generator[_Part]:
        """Open the part file, locked, and be sure that it still has its name."""
        told = False
        while True:
            with os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
                while not _lock(file):
                    if not told:
                        self.report.event("waiting", str(self.model.path), message="another fetcher has it")
                        told = True
                    self._pause(0.2)
                if not _names(self.part, file):
                    continue
                try:
                    yield _Part(file=file)
                finally:
                    file.flush()
                    if os.fstat(file.fileno()).st_size == 0 and _names(self.part, file):
                        self.part.unlink()
                return

    def _download(self, part: _Part) -> None:
        """Fill the part file until it is whole and right, with as many requests as it takes."""
        self._resume(part)
        failures = 0
        while True:
            before = part.size
            try:
                self._receive(part)
                if self._is_right(part):
                    return
            except _TryAgain as error:
                failures = failures + 1 if part.size <= before else 0
                if failures > self.manner.retries:
                    raise FetchError(f"{error}, {failures} times in a row; what came so far is kept") from error
                wait_s = error.wait_s or self.manner.backoff_s * 2 ** max(failures - 1, 0)
                self.report.event("retrying", str(self.model.path), message=f"{error}; again in {wait_s:.1f} s")
                self._pause(min(wait_s, _LONGEST_WAIT_S))

    def _resume(self, part: _Part) -> None:
        """Take in what an earlier run left; without a checksum nobody could tell that the halves fit."""
        left = os.fstat(part.file.fileno()).st_size
        if left and (self.model.sha256 is None or left > (self.model.size or left)):
            part.restart()
        elif left:
            part.digest = self._digest(part.file, left)
            part.is_pieced = True

    def _is_right(self, part: _Part) -> bool:
        """Hold the whole part against the manifest; a patchwork that does not fit gets a second chance, from zero."""
        found = part.digest.hexdigest()
        if self.model.sha256 in {None, found}:
            return True
        was_pieced = part.is_pieced
        part.restart()
        if was_pieced:
            self.report.event("retrying", str(self.model.path), message="wrong checksum after resuming; from zero")
            return False
        raise FetchError(
            f"what {self.model.url} sends has sha256 {found}, the manifest says {self.model.sha256}; "
            "it was thrown away. Either the publisher replaced the file, or this is not the file that was meant"
        )

    def _receive(self, part: _Part) -> None:
        """Make one request for what is missing and write what comes."""
        have = part.size
        if have and have == self.model.size:
            return
        with self._open(part, have) as answer:
            if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                part.restart()
            elif _range_start(answer) != have:
                part.restart()
                raise _TryAgain("the server sent another range than asked for")
            part.is_pieced = part.size > 0
            total = self._expect(answer, part.size)
            self.report.advance(str(self.model.path), part.size, total)
            while chunk := _read(answer):
                part.write(chunk)
                self.report.advance(str(self.model.path), part.size, total)
                self._heed_stop()
        if total is not None and part.size < total:
            raise _TryAgain(f"the connection ended after {part.size} of {total} bytes")

    def _expect(self, answer: http.client.HTTPResponse, have: int) -> int | None:
        """Refuse what cannot be the file before it is read; the size that it will have."""
        if answer.headers.get_content_type() == "text/html":
            raise FetchError(f"{self.model.url} answers with a web page, not with a file: a login or a licence page?")
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else None
        if total is not None and self.model.size is not None and total != self.model.size:
            raise FetchError(f"{self.model.url} has {total} bytes, the manifest says {self.model.size}")
        return total if total is not None else self.model.size

    def _open(self, part: _Part, have: int) -> http.client.HTTPResponse:
        headers = {"User-Agent": "comfy-gateway-fetch", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        request = urllib.request.Request(self.model.url, headers=headers)  # noqa: S310  the manifest takes http(s) only
        if self.token:
            # Unredirected: the token is for the publisher, not for the storage it points to.
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            return cast(http.client.HTTPResponse, _opener().open(request, timeout=self.manner.timeout_s))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, part) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise FetchError(f"the certificate of {self.model.url} is not trusted: {error.reason}") from error
            raise _TryAgain(f"no connection: {error.reason}") from error
        except (http.client.HTTPException, OSError) as error:
            raise _TryAgain(f"no answer: {error!r}") from error

    def _refusal(self, error: urllib.error.HTTPError, part: _Part) -> Exception:
        """What an HTTP error means, with the way out."""
        status = error.code
        if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.restart()
            return _TryAgain("the server has fewer bytes than were fetched before")
        if status in _RETRIED:
            asked = error.headers.get("Retry-After", "")
            return _TryAgain(f"the server said {status}", wait_s=float(asked) if asked.isdigit() else None)
        if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            variable = self.model.token
            if variable is None:
                return FetchError(f"{self.model.url} said {status}: it needs a login; name a `token` in the manifest")
            known = "is not accepted" if self.token else "is not set"
            return FetchError(
                f"{self.model.url} said {status}: the token in {variable} {known}."
                " Accept the model's licence on its page and give a token that may read it"
            )
        return FetchError(f"{self.model.url} said {status}; put the file's new address in the manifest")

    def _digest(self, file: IO[bytes], size: int) -> Any:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            self.report.advance(str(self.model.path), file.tell(), size)
            self._heed_stop()
        return digest

    def _heed_stop(self) -> None:
        if self.stop.is_set():
            raise Stopped("stopped; what came so far is kept")

    def _pause(self, seconds: float) -> None:
        self.stop.wait(seconds)
        self._heed_stop()


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917  the parent's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            raise FetchError(f"{req.full_url} leads from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoDowngrade)


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _TryAgain(f"the connection broke: {error!r}") from error


def _range_start(answer: http.client.HTTPResponse) -> int | None:
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    start = span.split("-")[0]
    return int(start) if unit == "bytes" and start.isdigit() else None


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _names(path: Path, file: BinaryIO) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _disk_error(error: OSError, target: Path) -> FetchError:
    if error.errno in _FULL:
        return DiskFull(
            f"no room in {target.parent}: {error.strerror}. What came so far is kept: make room, start again"
        )
    return FetchError(f"cannot write to {target.parent}: {error.strerror or error}. Mount the models folder writable")
