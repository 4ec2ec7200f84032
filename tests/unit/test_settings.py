"""Settings: layers, faults, secrets, and the printed reference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import settings, settings_reference
from gateway.domain import errors

KEY = "0123456789abcdef"


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = written(
        tmp_path, 'port = 1\ngrace = "1m"\nworkers = ["http://a:1"]\n[limits]\nupload = "1MiB"\nstreams = 7\n'
    )
    environment = {"COMFY_GATEWAY_PORT": "2", "COMFY_GATEWAY_LIMITS__UPLOAD": "2MiB", "COMFY_GATEWAY_GRACE": "5"}
    found = settings.load({"port": 3}, file=file, environment=environment)
    assert (found.port, found.grace, found.workers) == (3, 5.0, ("http://a:1",))
    assert (found.limits.upload, found.limits.streams, found.limits.batch_jobs) == (2 << 20, 7, 10_000)
    assert found.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "prot (did you mean port?)"),
        ("[limits]\nuploads = 1", "limits.uploads (did you mean limits.upload?)"),
        ("nonsense = 1", "nonsense"),
        ("port = ", "not TOML"),
        ("port = 99999", "port: must be at most 65535, not 99999"),
        ('grace = "soon"', "grace: a time is a number of seconds"),
        ('log = "loud"', "log: "),
        ('public_url = "example.org"', "public_url: "),
        ("gpus = []", "gpus: "),
        ("simulate = -1", "simulate: must be at least 0, not -1"),
        ('workers_per_gpu = "two"', "workers_per_gpu: must be a whole number, not 'two'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        settings.load(file=written(tmp_path, text))
    assert said in caught.value.message


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        settings.load({"port": -1, "grace": "soon"})
    assert "port" in caught.value.message
    assert "grace" in caught.value.message


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="there is no"):
        settings.load(file=tmp_path / "absent.toml")


@pytest.mark.parametrize("text", ["all", "none"])
def test_gpus_by_word(text: str) -> None:
    assert settings.load({"gpus": text}).gpus == text


@pytest.mark.parametrize(
    ("given", "meant"), [("0,2", ("0", "2")), (1, ("1",)), ([0, "GPU-1"], ("0", "GPU-1")), ("GPU-x, 1", ("GPU-x", "1"))]
)
def test_gpus_by_name(given: object, meant: tuple[str, ...]) -> None:
    assert settings.load({"gpus": given}).gpus == meant


def test_worker_addresses_are_evened_out() -> None:
    assert settings.load({"workers": ["http://a:8188/"]}).workers == ("http://a:8188",)


@pytest.mark.parametrize("text", ["10.0.0.7", "10.0.0.7:8188", "gpu1:8188", "ftp://gpu1", "//gpu1:8188"])
def test_worker_addresses_are_whole(text: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"workers.*http://10\.0\.0\.7:8188"):
        settings.load({"workers": [text]})


def test_simulators_and_real_workers_never_mix() -> None:
    with pytest.raises(errors.ConfigError, match="never mix"):
        settings.load({"simulate": 1, "workers": ["http://a"]})
    with pytest.raises(errors.ConfigError, match="never mix"):
        settings.load({"simulate": 1, "comfyui": "/x"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "gateway.example"])
def test_a_public_address_needs_a_key(host: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="add an API key"):
        settings.load({"host": host})
    assert settings.load({"host": host}, environment={"COMFY_GATEWAY_API_KEYS": f"app:{KEY}"}).is_public
    keys = tmp_path / "keys"
    keys.write_text(f"# mine\n\napp@shop:{KEY}\n")
    assert settings.load({"host": host, "api_keys_file": keys}).all_api_keys[0].tenant == "shop"


def test_an_address_that_cannot_be_is_told_before_a_key_is_asked_for() -> None:
    with pytest.raises(errors.ConfigError, match=r"300\.1\.1\.1 is not an address"):
        settings.load({"host": "300.1.1.1"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert not settings.load({"host": host}).is_public


@pytest.mark.parametrize("text", ["short", "no-colon-0123456789abcdef", "a:tooshort", "bad name:0123456789abcdef"])
def test_keys_that_are_wrong_are_refused_and_never_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        settings.load({"api_keys": [text]})
    assert text.partition(":")[2] not in caught.value.message or not text.partition(":")[2]
    keys = tmp_path / "keys"
    keys.write_text(f"\n{text}\n")
    with pytest.raises(errors.ConfigError, match="line 2"):
        settings.load({"api_keys_file": keys})


def test_a_short_key_is_told_how_long_it_must_be() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        settings.load({"api_keys": [f"app:{KEY[:15]}"]})
    assert caught.value.message == "api_keys.0.key: an API key has at least 16 characters"


def test_key_names_differ() -> None:
    with pytest.raises(errors.ConfigError, match="must differ: app"):
        settings.load({"api_keys": [f"app:{KEY}", f"app:{KEY}1"]})


def test_words_behind_a_key_give_rights_and_bounds(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(
        f"root:{KEY} admin\nshop@shop:{KEY}1 max_queued=500 max_queued_bytes=1MiB max_running=4 weight=2.5\n"
    )
    root, shop = settings.load({"api_keys_file": keys}).all_api_keys
    assert (root.admin, dict(root.limits)) == (True, {})
    bounds = {"weight": 2.5, "max_queued": 500, "max_queued_bytes": 2**20, "max_running": 4}
    assert (shop.admin, dict(shop.limits)) == (False, bounds)
    assert settings.tenant_limits([root, shop]) == {"default": {}, "shop": bounds}
    assert settings_reference.in_words(shop).startswith("shop@shop:*** weight=2.5 max_queued=500")


def test_a_table_says_the_same(tmp_path: Path) -> None:
    given = {"name": "root", "key": KEY, "admin": True, "max_running": 2}
    (key,) = settings.load({"api_keys": [given]}).api_keys
    (again,) = settings.load({"api_keys": [f"root:{KEY} admin max_running=2"]}).api_keys
    assert key == again
    assert settings.from_json(settings.to_json(settings.load({"api_keys": [given]}))).api_keys == (key,)


@pytest.mark.parametrize(
    "word", ["adminn", "admin=1", "max_queued", "max_queued=-1", "max_queued=many", "weight=0", "weight=nan", "phrase"]
)
def test_other_words_are_refused_and_never_shown(word: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        settings.load({"api_keys": [f"app:{KEY} {word}"]})
    assert "phrase" not in caught.value.message


def test_keys_of_one_tenant_agree() -> None:
    both = [f"a@shop:{KEY} weight=2 max_queued=5", f"b@shop:{KEY}1 weight=2"]
    assert settings.tenant_limits(settings.load({"api_keys": both}).api_keys) == {
        "shop": {"weight": 2, "max_queued": 5}
    }
    with pytest.raises(errors.ConfigError, match="different weights"):
        settings.load({"api_keys": [*both, f"c@shop:{KEY}2 weight=3"]})


def test_what_kubernetes_sets_for_a_service_of_our_name_is_not_a_port() -> None:
    assert settings.load(environment={"COMFY_GATEWAY_PORT": "tcp://10.0.0.1:8180"}).port == 8180


def test_variables_that_mean_nothing_are_told() -> None:
    environment = {
        "COMFY_GATEWAY_PROT": "1",
        "COMFY_GATEWAY_PORT": "1",
        "COMFY_GATEWAY_URL": "x",
        "COMFY_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "COMFY_GATEWAY_PORT_8180_TCP_ADDR": "10.0.0.1",
    }
    assert list(settings.strangers(environment)) == ["COMFY_GATEWAY_PROT (did you mean COMFY_GATEWAY_PORT?)"]


def test_secrets_are_hidden_from_people_and_reach_the_server() -> None:
    given = settings.load({"api_keys": [f"app:{KEY}"], "database": "postgresql://me:hidden@db/x"})
    shown = repr(settings.redacted(given)) + repr(given.api_keys)
    assert KEY not in shown
    assert "hidden" not in shown
    back = settings.from_json(settings.to_json(given))
    assert back.all_api_keys[0].key.get_secret_value() == KEY
    assert back.database == given.database


def test_all_settings_survive_the_way_to_the_server(tmp_path: Path) -> None:
    given = settings.load(
        {
            "gpus": "0,1",
            "workers": ["http://a:1"],
            "workflows": [tmp_path],
            "retention": {"jobs": "2d"},
            "limits": {"queue": None},
        }
    )
    assert settings.from_json(settings.to_json(given)) == given
    assert given.retention.jobs == 2 * 86400


def test_what_is_in_effect_is_shown_as_a_person_writes_it() -> None:
    given = settings.load(
        {
            "api_keys": [f"app@shop:{KEY}"],
            "database": "postgresql://me:hidden@db/x",
            "workers": ["http://a:1", "http://b:1"],
            "grace": 90,
            "limits": {"upload": "1.5GiB"},
        }
    )
    shown = dict(settings_reference.in_effect(given))
    assert len(shown) == len(list(settings.names()))
    expected = {
        "api_keys": "app@shop:***",
        "database": "postgresql://me:***@db/x",
        "workers": "http://a:1,http://b:1",
        "grace": "90s",
        "limits.upload": "1.5GiB",
        "limits.json_body": "32MiB",
        "retention.jobs": "7d",
        "comfyui": "",
        "comfyui_args": "",
        "allow_origins": "",
        "port": "8180",
    }
    assert {name: shown[name] for name in expected} == expected


def test_the_reference_is_what_the_code_prints() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
    if os.environ.get("WRITE_DOCS"):
        page.write_text(settings_reference.reference())
    assert page.read_text() == settings_reference.reference(), "run the tests with WRITE_DOCS=1 to write the page anew"
