"""The dialects' own node classes as `GET /object_info` would describe them, for workers that do not have the packs.

The editor's file names a node's values by their order only, so converting one needs the class. Most of these nodes are
taken out of the graph anyway (`reading`): a file with them becomes a template also where no worker knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_DEPLOY_TEXTS: Final = "display_name:STRING description:STRING"
_DEPLOY_LORA: Final = "lora_url:STRING bearer_token:STRING"
_DEPLOY_FACE: Final = "face_model_url:STRING"
_SWARM_GROUP: Final = "description:STRING order_priority:FLOAT is_advanced:BOOLEAN can_shrink:BOOLEAN"
_SWARM_TEXTS: Final = "description:STRING order_priority:FLOAT is_advanced:BOOLEAN raw_id:STRING group:GROUP"

#: Output types, then the inputs in the order of the editor's widgets.
_CLASSES: Final[Mapping[str, tuple[str, str]]] = {
    "CPackInputString": ("STRING", "value:STRING"),
    "CPackInputInt": ("INT", "value:INT min:INT max:INT"),
    "CPackInputAny": ("*", "input:STRING"),
    "CPackInputFile": ("*", "path:STRING"),
    "CPackInputImage": ("IMAGE MASK", "image:UPLOAD"),
    "ComfyUIDeployExternalText": ("STRING", f"input_id:STRING default_value:STRING {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalTextAny": ("*", f"input_id:STRING default_value:STRING {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalEnum": ("*", f"input_id:STRING default_value:STRING options:STRING {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalBoolean": ("BOOLEAN", f"input_id:STRING default_value:BOOLEAN {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalNumber": ("FLOAT", f"input_id:STRING default_value:FLOAT {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalNumberInt": ("INT", f"input_id:STRING default_value:INT {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalNumberSlider": (
        "FLOAT", f"input_id:STRING default_value:FLOAT min_value:FLOAT max_value:FLOAT {_DEPLOY_TEXTS}",
    ),
    "ComfyUIDeployExternalNumberSliderInt": (
        "INT", f"input_id:STRING default_value:INT min_value:INT max_value:INT {_DEPLOY_TEXTS}",
    ),
    "ComfyUIDeployExternalSeed": (
        "INT", f"input_id:STRING default_value:INT min_value:INT max_value:INT {_DEPLOY_TEXTS}",
    ),
    "ComfyUIDeployExternalCheckpoint": ("*", f"input_id:STRING default_value:STRING {_DEPLOY_TEXTS}"),
    "ComfyUIDeployExternalLora": (
        "*",
        f"input_id:STRING default_lora_name:STRING lora_save_name:STRING {_DEPLOY_TEXTS} {_DEPLOY_LORA}",
    ),
    "ComfyUIDeployExternalFaceModel": (
        "*",
        f"input_id:STRING default_face_model_name:STRING face_model_save_name:STRING {_DEPLOY_TEXTS} {_DEPLOY_FACE}",
    ),
    "ComfyUIDeployExternalImage": (
        "IMAGE", f"input_id:STRING default_value:IMAGE {_DEPLOY_TEXTS} default_value_url:STRING",
    ),
    "ComfyUIDeployExternalAudio": (
        "AUDIO", f"input_id:STRING audio_file:STRING default_value:AUDIO {_DEPLOY_TEXTS}",
    ),
    "SwarmInputGroup": (
        "GROUP",
        f"title:STRING open_by_default:BOOLEAN {_SWARM_GROUP}",
    ),
    "SwarmInputInteger": (
        "INT", f"title:STRING value:INT step:INT min:INT max:INT view_max:INT view_type:STRING {_SWARM_TEXTS}",
    ),
    "SwarmInputFloat": (
        "FLOAT",
        f"title:STRING value:FLOAT step:FLOAT min:FLOAT max:FLOAT view_max:FLOAT view_type:STRING {_SWARM_TEXTS}",
    ),
    "SwarmInputText": ("STRING", f"title:STRING value:STRING view_type:STRING {_SWARM_TEXTS}"),
    "SwarmInputModelName": ("*", f"title:STRING value:STRING subtype:STRING {_SWARM_TEXTS}"),
    "SwarmInputCheckpoint": ("MODEL CLIP VAE", f"title:STRING value:STRING {_SWARM_TEXTS}"),
    "SwarmInputDropdown": ("STRING *", f"title:STRING value:STRING values:STRING {_SWARM_TEXTS}"),
    "SwarmInputBoolean": ("BOOLEAN", f"title:STRING value:BOOLEAN {_SWARM_TEXTS}"),
    "SwarmInputImage": ("IMAGE MASK", f"title:STRING value:STRING auto_resize:BOOLEAN {_SWARM_TEXTS}"),
}  # fmt: skip


def known(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """This `object_info`, and the dialects' classes that it does not have."""
    missing = {name: _class(name, *told) for name, told in _CLASSES.items() if name not in info}
    return {**missing, **info} if missing else info


def _class(name: str, outputs: str, inputs: str) -> dict[str, Any]:
    pairs = (word.split(":") for word in inputs.split())
    # What the editor draws no widget for (`IMAGE`, `GROUP`) is a socket that may stay empty.
    fields = {field: [[], {"image_upload": True}] if kind == "UPLOAD" else [kind, {}] for field, kind in pairs}
    return {
        "input": {"required": {}, "optional": fields},
        "input_order": {"required": [], "optional": list(fields)},
        "output": outputs.split(),
        "output_name": outputs.split(),
        "name": name,
        "output_node": False,
        "python_module": "custom_nodes",
    }
