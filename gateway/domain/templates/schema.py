"""The inputs of a template as JSON Schema (2020-12), with what forms and dialects like to know as `x-` keys."""

from __future__ import annotations

from typing import Any

from gateway.domain.templates.model import FILE_TYPES, MAX_SEED, Parameter, ParameterType, Template

DIALECT = "https://json-schema.org/draft/2020-12/schema"

ASSET_SCHEMA: dict[str, Any] = {
    "description": "A reference to an uploaded asset.",
    "type": "object",
    "required": ["__type", "info"],
    "properties": {
        "__type": {"const": "core/ASSET"},
        "info": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "string"}, "hash": {"type": "string"}, "file_path": {"type": "string"}},
        },
    },
}
ASSET_ID_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["asset_id"],
    "properties": {"asset_id": {"type": "string"}},
    "additionalProperties": False,
}


def json_schema(template: Template) -> dict[str, Any]:
    """JSON Schema of the object that `inputs` takes."""
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "title": template.title or template.name,
        "type": "object",
        "properties": {parameter.name: parameter_schema(parameter) for parameter in template.parameters},
        "required": [parameter.name for parameter in template.parameters if parameter.required],
        "additionalProperties": False,
    }
    if template.description is not None:
        schema["description"] = template.description
    if any(parameter.type in FILE_TYPES for parameter in template.parameters):
        schema["$defs"] = {"asset": ASSET_SCHEMA, "asset_id": ASSET_ID_SCHEMA}
    return schema


def parameter_schema(parameter: Parameter) -> dict[str, Any]:
    """JSON Schema of one parameter's value."""
    extras = {
        "title": parameter.title,
        "description": parameter.description,
        "default": parameter.default,
        "x-type": str(parameter.type),
        "x-role": parameter.role,
        "x-targets": [str(target) for target in parameter.targets],
        "x-step": parameter.step,
        "x-multiline": True if parameter.multiline else None,
        "x-default-file": parameter.default_file,
    }
    return _type_schema(parameter) | {key: value for key, value in extras.items() if value is not None}


def _type_schema(parameter: Parameter) -> dict[str, Any]:
    match parameter.type:
        case ParameterType.STRING:
            return {"type": "string"}
        case ParameterType.INTEGER:
            return {"type": "integer", **_bounds(parameter)}
        case ParameterType.FLOAT:
            return {"type": "number", **_bounds(parameter)}
        case ParameterType.SEED:
            highest = MAX_SEED if parameter.maximum is None else int(parameter.maximum)
            return {"type": "integer", "minimum": -1, "maximum": highest}
        case ParameterType.BOOLEAN:
            return {"type": "boolean"}
        case ParameterType.CHOICE:
            return {"enum": list(parameter.choices)}
        case ParameterType.MODEL:
            return {"type": "string", "enum": list(parameter.choices)} if parameter.choices else {"type": "string"}
        case _:
            string = {"type": "string", "description": "An asset's id or file_path, a data URI, or base64."}
            return {"anyOf": [string, {"$ref": "#/$defs/asset"}, {"$ref": "#/$defs/asset_id"}]}


def _bounds(parameter: Parameter) -> dict[str, Any]:
    pairs = {"minimum": parameter.minimum, "maximum": parameter.maximum}
    return {key: value for key, value in pairs.items() if value is not None}
