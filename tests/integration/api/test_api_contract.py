"""Our OpenAPI document holds everything that the contract's has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.api import app

CONTRACT = Path(__file__).parents[2] / "fixtures" / "comfy-api-v2.yaml"

#: What only the cloud's surfaces send: credits, redirects to object storage, no streaming; and a rate limit on reads.
NEVER_SENT = {
    ("postJobs", "402"),
    ("getAssetContent", "302"),
    ("getJobEvents", "501"),
    *((operation, "429") for operation in ("getJob", "getJobWorkflow", "cancelJob")),
}


@pytest.fixture(scope="module")
def contract() -> Any:
    return yaml.safe_load(CONTRACT.read_text())


@pytest.fixture(scope="module")
def ours() -> Any:
    return app.document("0")


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _schema_name(document: Mapping[str, Any], response: Mapping[str, Any]) -> str | None:
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    media = response.get("content", {}).get("application/json", {})
    return media.get("schema", {}).get("$ref", "").rpartition("/")[2] or None


def test_every_operation_exists_under_its_id(contract: Any, ours: Any) -> None:
    ids = {(path, method): operation["operationId"] for path, method, operation in _operations(ours)}
    for path, method, operation in _operations(contract):
        assert ids.get((path, method)) == operation["operationId"]


def test_every_answer_is_documented_with_its_schema(contract: Any, ours: Any) -> None:
    missing: list[str] = []
    for path, method, operation in _operations(contract):
        answers = ours["paths"][path][method]["responses"]
        for status, response in operation["responses"].items():
            if (operation["operationId"], status) in NEVER_SENT:
                continue
            wanted = _schema_name(contract, response)
            if status not in answers or (wanted and _schema_name(ours, answers[status]) != wanted):
                missing.append(f"{method} {path} {status} {wanted}")
    assert missing == []


def test_every_parameter_is_documented(contract: Any, ours: Any) -> None:
    missing: list[str] = []
    for path, method, operation in _operations(contract):
        has = {(each["name"], each["in"]) for each in ours["paths"][path][method].get("parameters", [])}
        for each in operation.get("parameters", []):
            name = each.get("$ref", "").rpartition("/")[2]
            parameter = contract["components"]["parameters"][name] if name else each
            if (parameter["name"], parameter["in"]) not in has:
                missing.append(f"{method} {path} {parameter['name']}")
    assert missing == []


def test_every_request_body_takes_the_contracts_fields(contract: Any, ours: Any) -> None:
    for path, method, operation in _operations(contract):
        for media, wanted in operation.get("requestBody", {}).get("content", {}).items():
            body = ours["paths"][path][method]["requestBody"]["content"][media]["schema"]
            if "$ref" in body:
                body = ours["components"]["schemas"][body["$ref"].rpartition("/")[2]]
            assert set(wanted["schema"]["properties"]) <= set(body["properties"]), path
            assert set(body.get("required", [])) <= set(wanted["schema"]["required"]), path


def test_every_schema_has_the_contracts_fields(contract: Any, ours: Any) -> None:
    for name, wanted in contract["components"]["schemas"].items():
        if name in {"AssetReference", "LogEvent"}:  # parts of a graph; an event that nobody sends yet
            continue
        made = ours["components"]["schemas"][name]
        assert set(wanted.get("required", [])) <= set(made.get("required", [])), name
        for field, schema in wanted.get("properties", {}).items():
            assert _kinds(contract, schema) <= _kinds(ours, made["properties"][field]) | {"null"}, (name, field)
        assert set(wanted.get("enum", [])) == set(made.get("enum", [])), name


def _kinds(document: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema allows."""
    if "$ref" in schema:
        return _kinds(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for combined in ("anyOf", "allOf", "oneOf"):
        if combined in schema:
            return set[str]().union(*(_kinds(document, each) for each in schema[combined]))
    return {schema["type"]} | ({"null"} if schema.get("nullable") else set())
