"""What `deploy/` names exists: files, services, settings, options. No container engine is needed for that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from gateway import settings

DEPLOY = Path(__file__).parents[3] / "deploy"
Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml as data."""
    return cast(dict[str, Any], yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


@pytest.fixture(scope="module")
def options_of_up() -> set[str]:
    """Every option that `comfy-gateway up` takes."""
    shown = subprocess.run(
        [Path(sys.executable).with_name("comfy-gateway"), "up", "--help"],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"--[a-z][a-z-]+", shown.stdout))


def workers(compose: dict[str, Any]) -> dict[str, Service]:
    """The services that are workers."""
    services: dict[str, Service] = compose["services"]
    return {name: service for name, service in services.items() if service["image"] == "comfy-worker"}


def test_each_worker_has_a_gpu_and_data_of_its_own(compose: dict[str, Any]) -> None:
    found = workers(compose).values()
    devices = [service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for service in found]
    assert len(devices) == len({tuple(ids) for ids in devices}) == 2
    assert all(len(ids) == 1 for ids in devices)
    data = [volume for service in found for volume in service["volumes"] if volume.endswith(":/data")]
    assert len(set(data)) == 2


def test_the_gateway_knows_its_workers_and_only_it_reaches_them(compose: dict[str, Any]) -> None:
    gateway = compose["services"]["gateway"]
    urls = {word.removeprefix("--worker=") for word in gateway["command"] if word.startswith("--worker=")}
    assert urls == {f"http://{name}:8188" for name in workers(compose)}
    assert all(service["networks"] == ["workers"] and "ports" not in service for service in workers(compose).values())
    assert "workers" not in compose["services"]["nginx"]["networks"]
    assert "ports" not in gateway


def test_its_options_and_variables_exist(compose: dict[str, Any], options_of_up: set[str]) -> None:
    gateway = compose["services"]["gateway"]
    used = {word.split("=")[0] for word in gateway["command"] if word.startswith("--")}
    assert used <= options_of_up
    known = {settings.PREFIX + "__".join(part for part in name if part).upper() for name in settings.names()}
    assert set(gateway["environment"]) <= known


def test_files_and_volumes_that_it_mounts_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], volume
        build = service.get("build")
        if build is not None:
            context = build if isinstance(build, str) else build["context"]
            assert (DEPLOY / context).is_dir()
    assert compose["secrets"]["api-keys"]["file"] == "./api-keys"
    assert "api-keys" in (DEPLOY / ".gitignore").read_text().split()


def test_its_nginx_differs_from_the_shipped_one_in_the_address_only() -> None:
    shipped = (DEPLOY.parent / "nginx" / "conf.d" / "comfy-gateway-upstream.conf").read_text()
    ours = (DEPLOY / "nginx-upstream.conf").read_text()

    def rules(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]

    assert [rule.replace("gateway:8180", "127.0.0.1:8180") for rule in rules(ours)] == rules(shipped)


def test_the_unit_starts_the_gateway_with_options_it_has(options_of_up: set[str]) -> None:
    unit = (DEPLOY / "comfy-gateway.service").read_text()
    lines = [line.partition("=") for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    found = {name: value for name, _, value in lines}
    program, command, *rest = found["ExecStart"].split()
    assert program.endswith("/comfy-gateway")
    assert command == "up"
    assert {word for word in rest if word.startswith("--")} <= options_of_up
    assert found["Type"] == "notify"  # gateway.supervisor.notify answers
    grace = settings.load().grace
    assert float(found["TimeoutStopSec"]) > grace + 15
