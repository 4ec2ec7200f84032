"""What a simulated ComfyUI is told at its start: where it listens, whom it plays, how quick its card is."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: ComfyUI versions that can be played; each stands for a set of recordings.
VERSIONS = ("0.33.0", "0.3.64")
CACHES = ("classic", "none", "lru")
NODE_PACKS = ("ipadapter", "wiretest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A graphics card, as far as a queue can tell: memory, and how long things take on it.

    `step_ms` is one step of SD 1.5 at 512 x 512; larger pictures and models scale it.
    """

    device: str
    vram_gb: float
    step_ms: float
    load_s_per_gb: float
    decode_ms: float


#: Numbers are of the right order, from published benchmarks; nothing here was measured.
CARDS: Mapping[str, Card] = types.MappingProxyType(
    {
        "instant": Card(device="Instant", vram_gb=24, step_ms=0, load_s_per_gb=0, decode_ms=0),
        "demo": Card(device="Demo", vram_gb=24, step_ms=30, load_s_per_gb=0.1, decode_ms=50),
        "rtx3060": Card(device="NVIDIA GeForce RTX 3060", vram_gb=12, step_ms=125, load_s_per_gb=0.6, decode_ms=450),
        "rtx4090": Card(device="NVIDIA GeForce RTX 4090", vram_gb=24, step_ms=32, load_s_per_gb=0.35, decode_ms=120),
        "h100": Card(device="NVIDIA H100 80GB HBM3", vram_gb=80, step_ms=22, load_s_per_gb=0.25, decode_ms=90),
    }
)

#: Model files that a simulator says it has, by ComfyUI's folder name.
DEFAULT_MODELS: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
    {
        "checkpoints": (
            "flux1-dev-fp8.safetensors",
            "flux1-schnell-fp8.safetensors",
            "sd_xl_base_1.0.safetensors",
            "sd_xl_refiner_1.0.safetensors",
            "sd_xl_turbo_1.0_fp16.safetensors",
            "512-inpainting-ema.safetensors",
            "v1-5-pruned-emaonly-fp16.safetensors",
            "v1-5-pruned-emaonly.safetensors",
        ),
        "loras": (
            "lcm-lora-sdv1-5.safetensors",
            "lcm-lora-sdxl.safetensors",
            "pixel-art-xl.safetensors",
            "sd_xl_offset_example-lora_1.0.safetensors",
            "sdxl_lightning_4step_lora.safetensors",
            "blindbox_v1_mix.safetensors",
        ),
        "vae": ("ae.safetensors", "sdxl_vae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors"),
        "text_encoders": (
            "clip_g.safetensors",
            "clip_l.safetensors",
            "t5xxl_fp16.safetensors",
            "t5xxl_fp8_e4m3fn.safetensors",
        ),
        "diffusion_models": ("flux1-dev.safetensors", "flux1-schnell.safetensors"),
        "controlnet": (
            "control_v11f1p_sd15_depth.pth",
            "control_v11p_sd15_canny.pth",
            "control_v11p_sd15_depth.pth",
            "control_v11p_sd15_openpose.pth",
            "control_v11f1p_sd15_depth_fp16.safetensors",
            "control_v11p_sd15_canny_fp16.safetensors",
            "control_v11p_sd15_openpose_fp16.safetensors",
            "diffusers_xl_canny_full.safetensors",
        ),
        "upscale_models": ("4x-UltraSharp.pth", "RealESRGAN_x2plus.pth", "RealESRGAN_x4plus.pth"),
        "clip_vision": (
            "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
            "clip_vision_g.safetensors",
        ),
        "ipadapter": ("ip-adapter-plus_sd15.safetensors", "ip-adapter_sd15.safetensors"),
        "embeddings": (),
        "style_models": (),
        "gligen": (),
        "hypernetworks": (),
        "latent_upscale_models": (),
        "audio_encoders": (),
        "model_patches": (),
        "photomaker": (),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to play ComfyUI. `port=0` takes a free one; without `directory` a temporary one is used."""

    host: str = "127.0.0.1"
    port: int = 0
    directory: Path | None = None
    name: str = "simulator"
    version: str = "0.33.0"
    #: Whether the `/api/jobs*` routes are there; None: as in `version`.
    jobs_api: bool | None = None
    card: str = "instant"
    #: Override the card's time for a step, and for any model load.
    step_ms: float | None = None
    load_ms: float | None = None
    #: How many times longer everything takes that takes the card's time, `SimulatedWork` included.
    slowness: float = 1.0
    preview_method: str = "none"
    cache: str = "classic"
    cache_size: int = 20
    #: Loaders whose models stay although the running prompt has no use for them: room for this many in all.
    models_held: int = 1
    node_packs: frozenset[str] = frozenset()
    #: Stock classes to leave out of `/object_info`, as on an older or trimmed install.
    without_nodes: frozenset[str] = frozenset()
    #: Replaces the default files of the folders named here.
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    max_upload_mb: float = 100
    history_size: int = 10_000
    #: Seconds before the port is opened (a slow start).
    start_delay_s: float = 0
    #: Seconds between `execution_success` and the history entry (a real server: 0 to 0.35).
    end_delay_s: float = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        for label, value, known in (
            ("version", self.version, VERSIONS),
            ("card", self.card, tuple(CARDS)),
            ("cache", self.cache, CACHES),
            *(("node pack", pack, NODE_PACKS) for pack in sorted(self.node_packs)),
        ):
            if value not in known:
                raise ValueError(f"Unknown {label} {value!r}: one of {', '.join(known)}")

    @property
    def is_new(self) -> bool:
        """Whether 0.33 is played rather than 0.3.64."""
        return self.version != "0.3.64"

    @property
    def has_jobs_api(self) -> bool:
        """Whether `/api/jobs*` is answered."""
        return self.is_new if self.jobs_api is None else self.jobs_api

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the model files of a folder, sorted as ComfyUI lists them."""
        return tuple(sorted(self.models.get(folder, DEFAULT_MODELS.get(folder, ()))))
