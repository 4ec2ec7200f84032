"""What can be set about webhooks, and that their secrets stay hidden."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from gateway import settings, settings_reference
from gateway.adapters import datadir
from gateway.domain import errors, webhooks
from gateway.domain.webhooks import EventType

KEY = "k" * 24
SECRET = "a passphrase to sign with"
URL = "https://a.example/in"
WEBHOOK = {"url": URL, "events": ["succeeded"], "secret": SECRET}


def test_networks_that_webhooks_may_reach() -> None:
    assert settings.load().webhooks.allow_private == "none"
    assert settings.load({"webhooks": {"allow_private": "all"}}).webhooks.allow_private == "all"
    networks = (ipaddress.ip_network("192.168.1.0/24"), ipaddress.ip_network("::1/128"))
    for given in ("192.168.1.0/24, ::1", ["192.168.1.0/24", "::1"]):
        found = settings.load({"webhooks": {"allow_private": given}})
        assert found.webhooks.allow_private == networks
        assert dict(settings_reference.in_effect(found))["webhooks.allow_private"] == "192.168.1.0/24,::1/128"
        assert settings.from_json(settings.to_json(found)) == found
    environment = {"COMFY_GATEWAY_WEBHOOKS__ALLOW_PRIVATE": "10.0.0.0/8"}
    assert settings.load(environment=environment).webhooks.allow_private == (ipaddress.ip_network("10.0.0.0/8"),)
    with pytest.raises(errors.ConfigError, match="allow_private"):
        settings.load({"webhooks": {"allow_private": "some"}})


def test_secrets_are_hidden_from_people_and_reach_the_server() -> None:
    key = {"name": "app", "key": KEY, "webhook": WEBHOOK}
    given = settings.load({"api_keys": [key], "webhooks": {"secret": SECRET}})
    assert SECRET not in repr(settings.redacted(given)) + repr(given)
    assert SECRET not in repr(list(settings_reference.in_effect(given)))
    back = settings.from_json(settings.to_json(given))
    assert back == given
    hook = back.all_api_keys[0].webhook
    assert hook is not None
    assert hook.ordered() == webhooks.Webhook(url=URL, events=frozenset({EventType.SUCCEEDED}), secret=SECRET)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"webhooks": {"secret": "short"}}, "secret"),
        ({"api_keys": [{"name": "app", "key": KEY, "webhook": {**WEBHOOK, "url": "nowhere"}}]}, "url"),
        ({"api_keys": [{"name": "app", "key": KEY, "webhook": {**WEBHOOK, "events": ["ended"]}}]}, "events"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, object], word: str) -> None:
    with pytest.raises(errors.ConfigError, match=word) as caught:
        settings.load(given)
    assert SECRET not in caught.value.message


def test_the_secret_of_a_data_directory_stays_the_same(tmp_path: Path) -> None:
    first = datadir.at(tmp_path / "a").webhook_secret()
    assert datadir.at(tmp_path / "a").webhook_secret() == first
    assert datadir.at(tmp_path / "b").webhook_secret() != first
    assert len(webhooks.key_of(first)) == 32
