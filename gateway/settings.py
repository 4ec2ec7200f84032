"""What a person can set: flags, then `COMFY_GATEWAY_*`, then `gateway.toml`, then these defaults.

Built once, in the command line or the composition root, and handed down as values: nothing below sees this object or
the environment. The docs' table (docs/reference/settings.md) is printed from it.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.domain import errors, webhooks, wording

FILE = Path("gateway.toml")
PREFIX = "COMFY_GATEWAY_"
SHORTEST_KEY = 16

_UNITS: Mapping[str, float] = types.MappingProxyType(
    {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
)
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|m|h|d|w)?")
#: Of the commands that talk to a gateway, and of our own processes.
_OTHERS = frozenset({f"{PREFIX}{name}" for name in ("URL", "API_KEY", "MARK")})
#: What Kubernetes sets for a service of our name.
_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP)")
_NUMBERS_ONLY = re.compile(r"\d+(\.\d+){3}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError("a time is a number of seconds, or a number with ms, s, m, h, d or w: 90, 15m, 7d")
    return float(found["number"]) * _UNITS[found["unit"] or "s"]


def _words(value: object) -> object:
    """A list may be written as one string with commas, as environments and flags do."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _urls(value: object) -> object:
    words = _words(value)
    if not isinstance(words, list | tuple):
        return words
    return tuple(_url(word) for word in cast(list[object], words))


def _url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a worker is the http(s) address of a ComfyUI, as in http://10.0.0.7:8188")
    return value.rstrip("/")


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(f"an API key has at least {SHORTEST_KEY} characters")
    return key


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_words)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class KeyWebhook(_Part):
    """A webhook that all jobs of an API key have, unless they name one themselves."""

    url: str
    events: Words | None = None
    secret: SecretStr | None = None

    @model_validator(mode="after")
    def _usable(self) -> KeyWebhook:
        try:
            self.ordered()
        except errors.InvalidRequest as error:
            raise ValueError(error.message) from None
        return self

    def ordered(self) -> webhooks.Webhook:
        """The webhook that it means."""
        return webhooks.ordered(self.url, self.events, self.secret.get_secret_value() if self.secret else None)


class ApiKey(_Part):
    """Someone who may use the gateway. Jobs and assets belong to the tenant; keys of one tenant share them, and the
    tenant's limits, which one of its keys names. An admin may change workers and empty other tenants' queues."""

    name: str = Field(pattern=f"^{_NAME.pattern}$")
    key: Annotated[SecretStr, AfterValidator(_long_enough)]
    tenant: str = Field("default", pattern=f"^{_NAME.pattern}$")
    admin: bool = False
    weight: float | None = Field(None, gt=0, le=1e6, description="The tenant's share of the workers beside others'.")
    max_queued: int | None = Field(None, ge=0, description="Queued jobs of the tenant.")
    max_queued_bytes: ByteSize | None = Field(None, description="Graphs of the tenant's queued jobs.")
    max_running: int | None = Field(None, ge=0, description="Running jobs of the tenant.")
    webhook: KeyWebhook | None = Field(None, description="Told about its jobs that name no webhook themselves.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        who, colon, key = value.partition(":")
        if not colon:
            raise ValueError("an API key is written name:key, or name@tenant:key")
        name, _, tenant = who.strip().partition("@")
        secret, *more = key.split() or [""]
        return {"name": name, "key": secret, "tenant": tenant or "default", **dict(map(_key_option, more))}

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of its tenant that it names."""
        return self.model_dump(include=set(KEY_LIMITS), exclude_none=True)


KEY_LIMITS = ("weight", "max_queued", "max_queued_bytes", "max_running")


def _key_option(word: str) -> tuple[str, object]:
    """What may follow a key: `admin`, `weight=2`, `max_queued=500` …"""
    name, equals, value = word.partition("=")
    if name not in {"admin", *KEY_LIMITS} or bool(equals) != (name != "admin"):
        known = ", ".join(f"{each}=N" for each in KEY_LIMITS)  # the word itself may be part of a key with a space
        raise ValueError(f"a key has no spaces, and behind it comes nothing but admin, {known}")
    return name, value if equals else True


class Limits(_Part):
    """Bounds that keep one client from taking everything."""

    json_body: ByteSize = Field(ByteSize(32 << 20), description="The largest JSON body.")
    upload: ByteSize = Field(ByteSize(2 << 30), description="The largest uploaded file.")
    batch_jobs: int = Field(10_000, ge=1, description="Jobs in one batch.")
    queue: int | None = Field(100_000, ge=1, description="Queued jobs, of all tenants together.")
    queue_bytes: ByteSize | None = Field(
        ByteSize(8 << 30), description="Graphs of queued jobs, of all tenants together."
    )
    free_disk: ByteSize = Field(
        ByteSize(512 << 20), description="Below this much free space orders and uploads are refused (`queue_full`)."
    )
    stalled: Seconds = Field(30.0, description="An event stream whose reader takes nothing for this long is ended.")
    streams: int = Field(256, ge=1, description="Open event streams of one tenant.")
    wait: Seconds = Field(600.0, description="The longest `Prefer: wait`.")


class Retention(_Part):
    """How long things are kept."""

    jobs: Seconds = Field(7 * 86400.0, description="A job and its outputs, from its submission.")
    uploads: Seconds = Field(30 * 86400.0, description="An uploaded asset that no job needs.")
    deliveries: Seconds = Field(7 * 86400.0, description="What a webhook was told, or was given up.")
    queued: Seconds = Field(7 * 86400.0, description="A queued job that no worker takes expires after this.")
    disk_budget: ByteSize | None = Field(
        None, description="Bytes of outputs and uploads; past it the oldest ended jobs, then uploads, go early."
    )


def _networks(value: object) -> object:
    return value if value in ("none", "all") else _words(value)


class Webhooks(_Part):
    """Telling others what happens to jobs."""

    allow_private: Annotated[Literal["none", "all"] | tuple[IPvAnyNetwork, ...], BeforeValidator(_networks)] = Field(
        "none",
        description="Private addresses that webhooks may have: `none`, `all`, or networks like `192.168.1.0/24`.",
    )
    secret: SecretStr | None = Field(
        None,
        description="Signs what goes to webhooks without a secret of their own; without, `webhook-secret` in the data "
        "directory, made at the first start.",
    )
    timeout: Seconds = Field(15.0, gt=0, le=300, description="How long a receiver may take to answer.")
    at_once: int = Field(64, ge=1, le=1000, description="Webhooks under way at once.")
    per_host: int = Field(8, ge=1, le=1000, description="Of them, to one host.")
    progress_interval: Seconds = Field(5.0, description="Between two `job.progress` of one job, at least.")

    @field_validator("secret")
    @classmethod
    def _signs(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and (fault := webhooks.secret_fault(secret.get_secret_value())):
            raise ValueError(f"it {fault}")
        return secret


class Restart(_Part):
    """When a local worker's process that ended is started again."""

    first_delay: Seconds = Field(1.0, description="Before the first restart; doubled each time.")
    most_delay: Seconds = Field(60.0, description="The longest delay.")
    steady_after: Seconds = Field(60.0, description="A worker that lived this long starts with a clean record.")
    give_up_after: int = Field(5, ge=1, description="Ends in a row, without such a life, that make a crash loop.")


class Watch(_Part):
    """When a job takes too long, or a worker is dead. Templates may have limits of their own."""

    run: Seconds = Field(86400.0, gt=0, description="The longest run of a job whose kind is not known yet.")
    idle: Seconds = Field(1800.0, gt=0, description="The longest time without any sign of life of a run.")
    dead: Seconds = Field(
        120.0, gt=0, description="A local worker is dead when a job, its process and its card are silent for this."
    )


class Recycle(_Part):
    """When a local worker that works is started anew, once it has finished what it runs."""

    jobs: int | None = Field(None, ge=1, description="After so many jobs.")
    memory: ByteSize | None = Field(None, description="When its processes take more of the machine's memory.")


class Placement(_Part):
    """Which queued job an idle worker takes."""

    policy: Literal["earliest_finish", "least_connections"] = Field(
        "earliest_finish",
        description="`earliest_finish` weighs what is loaded where and how long runs take; `least_connections` counts.",
    )
    patience: Seconds = Field(
        30.0, description="A job lets others go first for at most this long, when it is sooner done by waiting."
    )
    ahead: Seconds = Field(
        0.02,
        description="While many jobs wait, a worker gets its next one this long before its run is expected to end, so "
        "that the card does not wait; 0 for when it has ended. Only on workers that cancel one prompt atomically.",
    )


Gpus = Literal["all", "none"] | Annotated[tuple[str, ...], Field(min_length=1)]


def _gpus(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)
    if isinstance(value, str):
        return value if value in {"all", "none"} else _words(value)
    if isinstance(value, list | tuple):
        return tuple(str(item) for item in cast(list[object], value))
    return value


class Settings(_Part):
    """Everything that can be set."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; `::` for IPv6 and IPv4. Public ones need an API key."
    )
    port: int = Field(8180, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="How clients reach the gateway, where the Host header does not tell.",
    )
    data_dir: Path = Field(Path("gateway-data"), description="Database, pictures, logs and the workers' folders.")
    database: str | None = Field(None, description="`postgresql://…`; without, SQLite in the data directory.")
    blobs: str | None = Field(
        None, description="Folder of pictures and uploads; without, `blobs` in the data directory."
    )
    workflows: Paths | None = Field(
        None, description="Folders of templates, later ones win; without, `./workflows`, as soon as it is there."
    )
    api_keys: tuple[ApiKey, ...] = Field((), description="Who may use the gateway: `name:key` or `name@tenant:key`.")
    api_keys_file: Path | None = Field(None, description="File with one API key a line; `#` begins a comment.")
    allow_origins: Words = Field((), description="Web origins whose pages may call the gateway.")

    workers: Urls = Field((), description="URLs of ComfyUIs that run elsewhere.")
    comfyui: Path | None = Field(None, description="ComfyUI's folder: run local workers from it.")
    comfyui_python: Path | None = Field(
        None, description="The Python that ComfyUI needs; without, the environment in its folder."
    )
    comfyui_args: str = Field("", description="More arguments for ComfyUI, as in a shell.")
    gpus: Annotated[Gpus, BeforeValidator(_gpus)] = Field(
        "all", description="`all`, `none` (CPU), or indices and UUIDs."
    )
    workers_per_gpu: int = Field(1, ge=1, le=32, description="ComfyUI processes a GPU.")
    simulate: int = Field(0, ge=0, le=64, description="How many built-in simulators to start instead of real workers.")
    simulate_args: str = Field(
        "--card demo --node-pack ipadapter",
        description="Arguments of the simulators: see `comfy-gateway simulate --help`.",
    )
    look_for: str | None = Field(
        "http://127.0.0.1:8188", description="Without any worker set, use a ComfyUI found here."
    )

    grace: Seconds = Field(30.0, description="How long running jobs may take to finish when the gateway stops.")
    log: Literal["auto", "console", "json"] = Field("auto", description="Log lines for people or for programs.")

    limits: Limits = Limits()  # pyright: ignore[reportCallIssue]
    retention: Retention = Retention()  # pyright: ignore[reportCallIssue]
    restart: Restart = Restart()  # pyright: ignore[reportCallIssue]
    watch: Watch = Watch()  # pyright: ignore[reportCallIssue]
    recycle: Recycle = Recycle()  # pyright: ignore[reportCallIssue]
    webhooks: Webhooks = Webhooks()  # pyright: ignore[reportCallIssue]
    placement: Placement = Placement()  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.simulate and (self.comfyui or self.workers):
            raise ValueError(
                "simulators and real workers never mix: use either --simulate, or --comfyui and --worker "
                "(another gateway with its own --data-dir and --port can run simulators)"
            )
        return self

    @property
    def all_api_keys(self) -> tuple[ApiKey, ...]:
        """The API keys, those of the file included; ConfigError."""
        return (*self.api_keys, *_keys_of(self.api_keys_file)) if self.api_keys_file else self.api_keys

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can connect."""
        return not is_loopback(self.host)

    @property
    def template_folders(self) -> tuple[Path, ...]:
        """Folders of templates beside the built-in one, as they are there now."""
        if self.workflows is not None:
            return self.workflows
        return (Path("workflows"),) if Path("workflows").is_dir() else ()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load(
    flags: Mapping[str, Any] | None = None, *, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings of flags, environment and file together; ConfigError names everything that is wrong.

    `file` must exist; without it, `gateway.toml` of the working directory is read if it is there.
    """
    given = _merge(_of_file(file), _of_environment(environment or {}), flags or {})
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise errors.ConfigError("; ".join(_sentences(error))) from None
    _refuse_open_door(settings)
    return settings


def _refuse_open_door(settings: Settings) -> None:
    keys = settings.all_api_keys
    if _NUMBERS_ONLY.fullmatch(settings.host) and not _is_address(settings.host):
        raise errors.ConfigError(f"{settings.host} is not an address of this machine: its parts go from 0 to 255")
    if settings.is_public and not keys:
        raise errors.ConfigError(
            f"listening on {settings.host} would let anyone who reaches this machine use it: add an API key "
            f"(--api-keys-file FILE, or {PREFIX}API_KEYS=name:key), or listen on 127.0.0.1"
        )
    names = [key.name for key in keys]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise errors.ConfigError(f"API key names must differ: {', '.join(twice)}")
    tenant_limits(keys)


def tenant_limits(keys: Iterable[ApiKey]) -> Mapping[str, Mapping[str, Any]]:
    """The limits of each tenant that has a key; ConfigError where its keys contradict each other."""
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        known = found.setdefault(key.tenant, {})
        for limit, value in key.limits.items():
            if known.setdefault(limit, value) != value:
                raise errors.ConfigError(f"the API keys of {key.tenant} name different {limit}s; one of them is enough")
    return found


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, table by table."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            known = merged.get(key)
            both = isinstance(known, dict) and isinstance(value, Mapping)
            merged[key] = _merge(cast(dict[str, Any], known), cast(Mapping[str, Any], value)) if both else value
    return merged


def _of_file(file: Path | None) -> Mapping[str, Any]:
    path = file or FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if file is None:
            return {}
        raise errors.ConfigError(f"there is no {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"{path} cannot be read: {error}") from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise errors.ConfigError(f"{path} is not TOML: {error}") from None
    _refuse_unknown(found, Settings, path)
    return found


def _refuse_unknown(table: Mapping[str, Any], shape: type[BaseModel], path: Path, prefix: str = "") -> None:
    unknown: list[str] = []
    for key, value in table.items():
        field = shape.model_fields.get(key)
        if field is None:
            near = get_close_matches(key, shape.model_fields, n=1)
            unknown.append(f"{prefix}{key}" + (f" (did you mean {prefix}{near[0]}?)" if near else ""))
        elif (inner := _table_of(field.annotation)) and isinstance(value, dict):
            _refuse_unknown(cast(dict[str, Any], value), inner, path, f"{prefix}{key}.")
    if unknown:
        raise errors.ConfigError(f"{path} has settings that do not exist: {', '.join(unknown)}")


def _table_of(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`COMFY_GATEWAY_PORT=8180`, `COMFY_GATEWAY_LIMITS__UPLOAD=4GB`; other variables with the prefix are not ours."""
    found: dict[str, Any] = {}
    for table, name in names():
        variable = PREFIX + (f"{table}__{name}" if table else name).upper()
        value = environment.get(variable)
        # Kubernetes sets COMFY_GATEWAY_PORT=tcp://10.0.0.1:8180 for a service of our name: that is not for us.
        if value is None or (name == "port" and value.startswith("tcp://")):
            continue
        target = found.setdefault(table, {}) if table else found
        target[name] = _words(value) if name == "api_keys" else value
    return found


def strangers(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables with our prefix that mean nothing to us, each with what may have been meant."""
    known = {PREFIX + (f"{table}__{name}" if table else name).upper() for table, name in names()} | _OTHERS
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known and not _KUBERNETES.search(variable):
            near = get_close_matches(variable, known, n=1)
            yield variable + (f" (did you mean {near[0]}?)" if near else "")


def names() -> Iterator[tuple[str | None, str]]:
    """Every setting as (table, name); the table is None for those at the top."""
    for name, field in Settings.model_fields.items():
        inner = _table_of(field.annotation)
        if inner is None:
            yield None, name
        else:
            yield from ((name, key) for key in inner.model_fields)


def _sentences(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        place = ".".join(
            str(part) for part in fault["loc"] if not str(part).startswith(("function-", "literal[", "tuple["))
        )
        text = wording.said(fault)
        secret = place.startswith("api_keys")
        told = "" if secret or not isinstance(fault["input"], str | int | float) else f", not {fault['input']!r}"
        yield f"{place}: {text}{told}" if place else text


def _keys_of(file: Path) -> tuple[ApiKey, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"the API keys in {file} cannot be read: {error}") from None
    stripped = ((number, line.strip()) for number, line in enumerate(lines, 1))
    return tuple(_key_of(file, number, line) for number, line in stripped if line and not line.startswith("#"))


def _key_of(file: Path, number: int, line: str) -> ApiKey:
    try:
        return ApiKey.model_validate(line)
    except ValidationError as error:
        raise errors.ConfigError(f"{file}, line {number}: {'; '.join(_sentences(error))}") from None


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings as JSON, with secrets and passwords hidden: for people's eyes."""
    shown = settings.model_dump(mode="json")
    shown["api_keys"] = [key.model_dump(mode="json", exclude_defaults=True) for key in settings.api_keys]
    if settings.database:
        shown["database"] = re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", settings.database)
    return shown


def to_json(settings: Settings) -> bytes:
    """The settings with their secrets, for our own server process."""
    shown = settings.model_dump(mode="json")
    shown["api_keys"] = [_opened(key.model_dump()) for key in settings.all_api_keys]
    shown["api_keys_file"] = None
    shown["webhooks"]["secret"] = _opened(settings.webhooks.secret)
    return orjson.dumps(shown)


def _opened(value: Any) -> Any:
    """A value with its secrets in the clear."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {name: _opened(each) for name, each in cast(dict[str, Any], value).items()}
        case _:
            return value


def from_json(data: bytes) -> Settings:
    """What `to_json` wrote."""
    return Settings.model_validate_json(data)
