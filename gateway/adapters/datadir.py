"""The data directory: one gateway's database, pictures, logs and worker folders, locked against a second one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.domain import errors, webhooks

_SOCKET_PATH_LIMIT = 100  #: bytes; the kernel takes 107


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDir:
    """Where things lie in a data directory."""

    path: Path

    @property
    def lock_file(self) -> Path:
        """Held by the gateway that owns the directory; contains its process id."""
        return self.path / "gateway.lock"

    @property
    def database(self) -> str:
        """The URL of the embedded database."""
        return f"sqlite:///{self.path / 'gateway.db'}"

    @property
    def blobs(self) -> Path:
        """Bytes of assets."""
        return self.path / "blobs"

    @property
    def logs(self) -> Path:
        """What local workers print."""
        return self.path / "logs"

    def worker(self, worker_id: str) -> Path:
        """A local worker's own folder."""
        return self.path / "workers" / worker_id

    @property
    def socket(self) -> Path:
        """The supervisor's socket; in the user's runtime folder when the path would be too long for one."""
        here = self.path / "supervisor.sock"
        if _is_short(here):
            return here
        name = f"{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}.sock"
        return _runtime_folder(name) / name

    def identity(self) -> str:
        """A name for whoever owns this directory, the same after each restart and different on every host."""
        return f"{socket.gethostname()}:{hashlib.sha256(self.secret() + os.fsencode(self.path)).hexdigest()[:12]}"

    def secret(self) -> bytes:
        """32 random bytes that stay the same for the life of the directory: what URLs are signed with."""
        return self._kept("secret", secrets.token_bytes(32))

    def webhook_secret(self) -> str:
        """What signs webhooks that have no secret of their own; a text file, so that people can copy it."""
        return (
            self._kept("webhook-secret", webhooks.secret_of(secrets.token_bytes(32)).encode() + b"\n").decode().strip()
        )

    def _kept(self, name: str, first: bytes) -> bytes:
        """What the file of this name holds: `first`, if it is not there yet."""
        file = self.path / name
        # Written aside and linked into place: a reader never sees half of it, the first writer wins.
        with suppress(FileExistsError), tempfile.NamedTemporaryFile(dir=self.path, prefix=f".{name}-") as fresh:
            fresh.write(first)
            fresh.flush()
            os.fsync(fresh.fileno())
            os.link(fresh.name, file)
        return file.read_bytes()


def _runtime_folder(name: str) -> Path:
    """A folder of this user alone in which a socket of that name has a short enough path."""
    own = f"comfy-gateway-{os.getuid()}"
    given = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(tempfile.gettempdir()) / own, Path("/tmp") / own]  # noqa: S108 - checked below to be ours alone
    if given:
        places.insert(0, Path(given) / "comfy-gateway")
    folder = next((place for place in places if _is_short(place / name)), places[-1])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise errors.ConfigError(f"{folder} belongs to somebody else or is open to others: choose a shorter --data-dir")
    return folder


def _is_short(path: Path) -> bool:
    return len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT


def at(path: Path) -> DataDir:
    """The data directory at `path`, made when it is missing; ConfigError."""
    where = path.expanduser().absolute()
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (where / "logs", where / "workers"):
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise errors.ConfigError(f"the data directory {where} cannot be made: {error.strerror}") from None
    return DataDir(path=where)


@contextmanager
def locked(data: DataDir) -> Generator[DataDir]:
    """Own the data directory; DataDirLocked while another gateway does. The lock ends with the process in any case."""
    try:
        descriptor = os.open(data.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.ConfigError(f"the data directory {data.path} cannot be used: {error.strerror}") from None
    try:
        _lock(descriptor, data)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield data
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data: DataDir) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise errors.DataDirLocked(
            f"the data directory {data.path} belongs to a running gateway (process {holder}): "
            "stop that one, or give this one its own --data-dir and --port"
        ) from None


def holder(data: DataDir) -> int | None:
    """The process id of the gateway that owns the directory; None when it is free."""
    try:
        descriptor = os.open(data.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)
