"""The model fetcher over real HTTP: every way in which a download of twenty gigabytes goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from comfy_image import download, fetch_models, manifest
from tests.unit.comfy_image import shelf

ROOT = Path(__file__).parents[3]
CONTENT = bytes(range(256)) * 4096  # a megabyte in which every place differs from its neighbours
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "checkpoints/m.safetensors"


def entry(url: str, path: str = NAME, **fields: Any) -> str:
    """One entry of a manifest; a field that is None is left out."""
    known: dict[str, Any] = {"path": path, "url": f"{url}/m", "sha256": SHA256, "size": len(CONTENT), **fields}
    lines = [f"{name} = {json.dumps(value)}" for name, value in known.items() if value is not None]
    return "\n".join(["[[model]]", *lines, ""])


class Place:
    """A models folder and a manifest for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.target = self.models / NAME
        self.part = self.target.with_name(f".{self.target.name}.part")

    def arguments(self, *entries: str, extra: Sequence[str] = ()) -> list[str]:
        """The command's arguments, with a manifest of these entries."""
        path = self.folder / "models.toml"
        path.write_text("\n".join(entries))
        fixed = ["--manifest", str(path), "--into", str(self.models), "--backoff", "0.01", "--keep-free-mb", "0"]
        return [*fixed, *extra]

    def fetch(self, *entries: str, extra: Sequence[str] = ()) -> int:
        """Run the command in this process."""
        return fetch_models.main(self.arguments(*entries, extra=extra))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place."""
    return Place(tmp_path)


def leave_part(place: Place, content: bytes) -> None:
    """As a fetcher that was killed leaves it."""
    place.part.parent.mkdir(parents=True)
    place.part.write_bytes(content)


def hidden_files(place: Place) -> list[str]:
    """What lies beside the models."""
    return sorted(path.name for path in place.models.rglob(".*"))


def test_a_model_is_fetched_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url)) == 0
        assert place.target.read_bytes() == CONTENT
        assert place.fetch(entry(server.url)) == 0
    assert len(server.requests) == 1
    told = capsys.readouterr().out.split("\n")
    assert [line.split()[0] for line in told if line] == ["fetched", "present"]  # no second reading: the note holds
    assert hidden_files(place) == [".m.safetensors.checked"]


def test_a_file_that_was_already_there_is_read_once_and_taken(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.target.parent.mkdir(parents=True)
    place.target.write_bytes(CONTENT)
    for _ in range(2):
        assert place.fetch(entry("http://127.0.0.1:9")) == 0
    told = [line.split()[0] for line in capsys.readouterr().out.split("\n") if line]
    assert told == ["checking", "present", "present"]


def test_a_file_that_changed_since_it_was_checked_is_fetched_anew(place: Place) -> None:
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url)) == 0
        place.target.write_bytes(bytes(len(CONTENT)))
        assert place.fetch(entry(server.url)) == 0
    assert place.target.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_cut_connection_is_resumed(place: Place) -> None:
    with shelf.shelf(CONTENT, shelf.cut_after(300_000), shelf.cut_after(1), shelf.cut_after(200_000)) as server:
        assert place.fetch(entry(server.url), extra=["--retries", "1"]) == 0
    assert [request.get("range") for request in server.requests] == [
        None,
        "bytes=300000-",
        "bytes=300001-",
        "bytes=500001-",
    ]
    assert place.target.read_bytes() == CONTENT


def test_what_an_earlier_run_left_is_resumed(place: Place) -> None:
    leave_part(place, CONTENT[:400_000])
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url)) == 0
    assert [request["range"] for request in server.requests] == ["bytes=400000-"]
    assert place.target.read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_no_request(place: Place) -> None:
    leave_part(place, CONTENT)
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url)) == 0
    assert server.requests == []
    assert place.target.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_of_something_else_costs_one_more_try(place: Place, size: int | None) -> None:
    leave_part(place, bytes(400_000))
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url, size=size)) == 0
    assert [request.get("range") for request in server.requests] == ["bytes=400000-", None]
    assert place.target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer",
    [
        shelf.whole(CONTENT),
        shelf.say(416, Content_Range="bytes */1000"),
        shelf.say(206, Content_Range="bytes 7-8/9"),
    ],
)
def test_a_server_that_cannot_resume_sends_everything(place: Place, answer: shelf.Answer) -> None:
    leave_part(place, CONTENT[:400_000])
    with shelf.shelf(CONTENT, answer) as server:
        assert place.fetch(entry(server.url)) == 0
    assert place.target.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(bytes(len(CONTENT))) as server:
        assert place.fetch(entry(server.url)) == 1
    assert len(server.requests) == 1
    told = capsys.readouterr().out
    assert SHA256 in told
    assert hashlib.sha256(server.content).hexdigest() in told
    assert not place.target.exists()
    assert hidden_files(place) == []


def test_the_old_file_stays_until_the_new_one_is_right(place: Place) -> None:
    place.target.parent.mkdir(parents=True)
    place.target.write_bytes(b"old")
    with shelf.shelf(bytes(len(CONTENT))) as server:
        assert place.fetch(entry(server.url)) == 1
        assert place.target.read_bytes() == b"old"
        server.content = CONTENT
        assert place.fetch(entry(server.url)) == 0
    assert place.target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 410, 400])
def test_a_definite_no_is_not_asked_again(place: Place, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT, shelf.say(status)) as server:
        assert place.fetch(entry(server.url)) == 1
    assert len(server.requests) == 1
    assert f"said {status}" in capsys.readouterr().out
    assert hidden_files(place) == []


@pytest.mark.parametrize("status", [500, 503, 429])
def test_trouble_that_passes_is_waited_for(place: Place, status: int) -> None:
    with shelf.shelf(CONTENT, shelf.say(status), shelf.say(status, Retry_After="0")) as server:
        assert place.fetch(entry(server.url)) == 0
    assert len(server.requests) == 3


def test_trouble_that_does_not_pass_ends(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT, shelf.cut_after(1000), *[shelf.say(500)] * 9) as server:
        assert place.fetch(entry(server.url), extra=["--retries", "2"]) == 1
    assert len(server.requests) == 4
    assert "3 times in a row" in capsys.readouterr().out
    assert place.part.stat().st_size == 1000


def test_no_server_at_all(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT) as gone:
        pass
    assert place.fetch(entry(gone.url), extra=["--retries", "1"]) == 1
    assert "no connection" in capsys.readouterr().out


def test_silence_ends_a_connection_and_it_is_resumed(place: Place) -> None:
    reached, go_on = threading.Event(), threading.Event()
    with shelf.shelf(CONTENT, shelf.hold(reached, go_on, 5000)) as server:
        assert place.fetch(entry(server.url), extra=["--timeout", "0.2"]) == 0
        go_on.set()
    assert [request.get("range") for request in server.requests] == [None, "bytes=5000-"]


def test_a_login_is_asked_for_by_name(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHELF_TOKEN", raising=False)
    with shelf.shelf(CONTENT, shelf.say(401)) as server:
        assert place.fetch(entry(server.url, token="SHELF_TOKEN")) == 1
    assert "SHELF_TOKEN is not set" in capsys.readouterr().out


def test_a_token_goes_to_the_publisher_and_not_to_the_storage(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELF_TOKEN", "secret")
    leave_part(place, CONTENT[:1000])
    with (
        shelf.shelf(CONTENT) as storage,
        shelf.shelf(CONTENT, shelf.say(302, Location=f"{storage.url}/blob")) as publisher,
    ):
        assert place.fetch(entry(publisher.url, token="SHELF_TOKEN")) == 0
    assert publisher.requests[0]["authorization"] == "Bearer secret"
    assert "authorization" not in storage.requests[0]
    assert storage.requests[0]["range"] == "bytes=1000-"


def test_a_file_without_a_checksum_has_to_be_asked_for(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url, sha256=None)) == 1
        assert "no sha256" in capsys.readouterr().out
        assert server.requests == []
        leave_part(place, CONTENT[:1000])
        assert place.fetch(entry(server.url, sha256=None), extra=["--allow-unverified"]) == 0
        assert "NOT VERIFIED" in capsys.readouterr().out
    assert [request.get("range") for request in server.requests] == [None]  # halves that nobody could check
    assert place.target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (shelf.whole(CONTENT, Content_Type="text/html; charset=utf-8"), "a web page"),
        (shelf.whole(CONTENT[:-1]), "the manifest says 1048576"),
    ],
)
def test_what_cannot_be_the_file_is_refused_before_it_is_read(
    place: Place, answer: shelf.Answer, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with shelf.shelf(CONTENT, answer) as server:
        assert place.fetch(entry(server.url)) == 1
    assert words in capsys.readouterr().out
    assert hidden_files(place) == []


def test_too_small_a_disk_is_told_before_anything_is_fetched(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT) as server:
        huge = entry(server.url, "vae/huge.safetensors", size=10**18)
        assert place.fetch(entry(server.url), huge) == 3
    assert server.requests == []
    assert "Not enough room" in capsys.readouterr().err


def test_a_disk_that_fills_up_keeps_what_came(place: Place) -> None:
    with shelf.shelf(CONTENT) as server:
        limit = len(CONTENT) // 2
        ended = subprocess.run(
            [sys.executable, "-m", "comfy_image.fetch_models", *place.arguments(entry(server.url))],
            cwd=ROOT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (3, "")
        assert "no room" in ended.stdout
        assert place.part.stat().st_size == limit
        assert place.fetch(entry(server.url)) == 0
    assert place.target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_to_is_told(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.models.mkdir()
    (place.models / "checkpoints").write_text("a file where a folder belongs")
    with shelf.shelf(CONTENT) as server:
        assert place.fetch(entry(server.url)) == 1
    assert "cannot write to" in capsys.readouterr().out


def test_an_optional_file_may_fail(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT, shelf.say(404)) as server:
        assert place.fetch(entry(server.url, optional=True)) == 0
    assert capsys.readouterr().out.startswith("warned")


class Listening:
    """A report that tells a test when something was said."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def event(self, kind: str, path: str, **facts: Any) -> None:
        """Notice who waits."""
        if kind == "waiting":
            self.waiting.set()

    def advance(self, path: str, done: int, total: int | None) -> None:
        """Nothing to do."""


def test_two_fetchers_share_the_work(place: Place) -> None:
    reached, go_on, report = threading.Event(), threading.Event(), Listening()
    outcomes: list[str] = []

    def fetch() -> None:
        model = manifest.Model(path=PurePosixPath(NAME), url=f"{server.url}/m", sha256=SHA256)
        one = download.Fetch(
            model=model, root=place.models, manner=download.Manner(), report=report, stop=threading.Event()
        )
        outcomes.append(one.run())

    with shelf.shelf(CONTENT, shelf.hold(reached, go_on, 1000)) as server:
        first, second = threading.Thread(target=fetch), threading.Thread(target=fetch)
        first.start()
        assert reached.wait(20)
        second.start()
        assert report.waiting.wait(20)
        go_on.set()
        first.join()
        second.join()
    assert sorted(outcomes) == ["fetched", "present"]
    assert len(server.requests) == 1
    assert hidden_files(place) == [".m.safetensors.checked"]


def test_two_files_at_a_time(place: Place) -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(exchange: shelf.Exchange) -> None:
        both.wait()
        shelf.serve(exchange)

    with shelf.shelf(CONTENT, meet, meet) as server:
        assert place.fetch(entry(server.url), entry(server.url, "vae/v.safetensors")) == 0
    assert len(server.requests) == 2


def test_stopped_it_keeps_what_came_and_goes_on_next_time(place: Place) -> None:
    reached = threading.Event()
    with shelf.shelf(CONTENT, shelf.drip(reached, 500_000)) as server:
        command = [sys.executable, "-m", "comfy_image.fetch_models", *place.arguments(entry(server.url))]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as fetcher:
            assert reached.wait(20)
            fetcher.send_signal(signal.SIGTERM)
            told, _ = fetcher.communicate(timeout=20)
        assert (fetcher.returncode, told.split()[0]) == (130, "stopped")
        assert not place.target.exists()
        assert place.fetch(entry(server.url)) == 0
    assert int(server.requests[1]["range"].removeprefix("bytes=").removesuffix("-")) > 0
    assert place.target.read_bytes() == CONTENT


def test_programs_read_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT, shelf.say(500)) as server:
        assert place.fetch(entry(server.url), extra=["--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["retrying", "fetched"]
    assert {event["path"] for event in events} == {NAME}
    assert all(event["total"] == len(CONTENT) for event in events if event["event"] == "progress")


def test_check_fetches_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with shelf.shelf(CONTENT) as server:
        other = entry(server.url, "vae/v.safetensors", optional=True)
        assert place.fetch(entry(server.url), other, extra=["--check"]) == 1
        assert server.requests == []
        place.target.parent.mkdir(parents=True)
        place.target.write_bytes(CONTENT)
        capsys.readouterr()
        assert place.fetch(entry(server.url), other, extra=["--check"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["checking", "present", "missing"]


def test_a_choice_of_files(place: Place) -> None:
    with shelf.shelf(CONTENT) as server:
        entries = [
            entry(server.url, groups=["one", "two"]),
            entry(server.url, "vae/v.safetensors", groups=["two"]),
            entry(server.url, "loras/l.safetensors"),
        ]
        assert place.fetch(*entries, extra=["one", "loras/l.safetensors"]) == 0
    assert sorted(path.name for path in place.models.rglob("[a-z]*.safetensors")) == ["l.safetensors", "m.safetensors"]


def test_a_reader_of_the_list_that_has_seen_enough_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "comfy_image.fetch_models", "--list"]
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_wrong_name_lists_the_right_ones(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.fetch(entry("http://127.0.0.1:9", groups=["sdxl"]), extra=["sdlx"]) == 2
    told = capsys.readouterr().err
    assert "sdlx" in told
    assert "sdxl" in told
