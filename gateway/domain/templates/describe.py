"""Templates as JSON for people and programs that want to use one."""

from __future__ import annotations

from typing import Any

from gateway.domain.templates import schema
from gateway.domain.templates.model import Parameter, Template


def summary(template: Template) -> dict[str, Any]:
    """What a list shows of a template."""
    return {
        "name": template.name,
        "version": template.version,
        "title": template.title or template.name,
        "description": template.description,
        "tags": list(template.tags),
        "inferred": template.inferred,
        "parameters": [parameter.name for parameter in template.parameters],
    }


def detail(template: Template) -> dict[str, Any]:
    """All there is to know about a template, but for its graph."""
    return {
        **summary(template),
        "parameters": [_parameter(parameter) for parameter in template.parameters],
        "outputs": [
            {"name": output.name, "node": output.node, "title": output.title, "description": output.description}
            for output in template.outputs
        ],
        "requirements": {
            **template.requirements.as_dict(),
            "key": template.requirements.key,
            "packs": [{"name": pack.name, "url": pack.url, "classes": list(pack.classes)} for pack in template.packs],
            "files": [
                {"file": file.file, "folder": file.folder, "url": file.url, "sha256": file.sha256}
                for file in template.models
            ],
        },
        "examples": [
            {"name": example.name, "inputs": dict(example.inputs), "tolerance": example.tolerance}
            for example in template.examples
        ],
        "schema": schema.json_schema(template),
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": str(parameter.type),
        "role": parameter.role,
        "title": parameter.title,
        "description": parameter.description,
        "required": parameter.required,
        "default": parameter.default,
        "default_file": parameter.default_file,
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "step": parameter.step,
        "choices": list(parameter.choices),
        "multiline": parameter.multiline,
        "targets": [{"node": target.node, "input": target.input} for target in parameter.targets],
    }
