"""What a simulator says of itself: features, system, folders."""

from __future__ import annotations

from typing import Any

from gateway.simulator.options import Card, Options


def features(options: Options) -> dict[str, Any]:
    """Return what `/features` and the handshake say."""
    size = int(options.max_upload_mb * 1024 * 1024)
    if not options.is_new:
        return {"supports_preview_metadata": True, "max_upload_size": size}
    return {
        "supports_preview_metadata": True,
        "supports_model_type_tags": True,
        "max_upload_size": size,
        "extension": {"manager": {"supports_v4": True}},
        "node_replacements": True,
        "assets": False,
    }


def stats(options: Options, card: Card, used_gb: float) -> dict[str, Any]:
    """Return what `/system_stats` says, `simulated` first of all."""
    total = int(card.vram_gb * 1024**3)
    free = max(0, int((card.vram_gb - used_gb) * 1024**3))
    system: dict[str, Any] = {
        "os": "linux" if options.is_new else "posix",
        "ram_total": 64 * 1024**3,
        "ram_free": 48 * 1024**3,
        "comfyui_version": options.version,
        "required_frontend_version": "1.49.6" if options.is_new else "1.27.10",
        "installed_templates_version": "0.11.44" if options.is_new else "0.1.94",
        "required_templates_version": "0.11.44" if options.is_new else "0.1.94",
        "python_version": "3.11.7 (simulated)",
        "pytorch_version": "2.13.0+cu130",
        "embedded_python": False,
        "argv": ["main.py"],
        "simulated": True,
        "simulator": {"name": options.name, "card": options.card},
    }
    if options.is_new:
        system["comfy_package_versions"] = []
        system["deploy_environment"] = "local-git"
    device = {
        "name": f"cuda:0 {card.device} (simulated) : cudaMallocAsync",
        "type": "cuda",
        "index": 0,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": total - free,
        "torch_vram_free": 0,
    }
    return {"system": system, "devices": [device]}


FOLDERS_OLD = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "custom_nodes",
    "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders",
)  # fmt: skip
FOLDERS_NEW = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "latent_upscale_models",
    "custom_nodes", "datasets", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders",
    "background_removal", "frame_interpolation", "geometry_estimation", "optical_flow", "detection",
)  # fmt: skip


def folders(options: Options) -> tuple[str, ...]:
    """Return the model folders that `/models` lists."""
    return FOLDERS_NEW if options.is_new else FOLDERS_OLD
