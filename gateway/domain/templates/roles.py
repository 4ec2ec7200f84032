"""What a parameter means, whatever it is called in a template: what dialects and forms go by."""

from __future__ import annotations

from typing import Final

PROMPT: Final = "prompt"
NEGATIVE_PROMPT: Final = "negative_prompt"
LYRICS: Final = "lyrics"
SEED: Final = "seed"
STEPS: Final = "steps"
CFG: Final = "cfg"
GUIDANCE: Final = "guidance"
SAMPLER: Final = "sampler"
SCHEDULER: Final = "scheduler"
DENOISE: Final = "denoise"
WIDTH: Final = "width"
HEIGHT: Final = "height"
SIZE: Final = "size"  #: width and height in one word, as a node's list has them
ASPECT_RATIO: Final = "aspect_ratio"  #: the shape in words, as a node's list has them; the node works out the size
MEGAPIXELS: Final = "megapixels"
RESOLUTION: Final = "resolution"  #: how fine, in a service's own words: `720p`, `2K`
BATCH_SIZE: Final = "batch_size"
LENGTH: Final = "length"  #: frames of a film, or seconds of a sound
DURATION: Final = "duration"  #: seconds of a film
FPS: Final = "fps"
CHECKPOINT: Final = "checkpoint"
DIFFUSION_MODEL: Final = "diffusion_model"
TEXT_ENCODER: Final = "text_encoder"
VAE: Final = "vae"
LORA: Final = "lora"
LORA_STRENGTH: Final = "lora_strength"
CONTROLNET: Final = "controlnet"
CONTROL_STRENGTH: Final = "control_strength"
CONTROL_IMAGE: Final = "control_image"
CLIP_VISION: Final = "clip_vision"
ADAPTER: Final = "adapter"
STYLE_IMAGE: Final = "style_image"
UPSCALE_MODEL: Final = "upscale_model"
IMAGE: Final = "image"
MASK: Final = "mask"
AUDIO: Final = "audio"
VIDEO: Final = "video"
FILE: Final = "file"

ALL: Final = (
    PROMPT, NEGATIVE_PROMPT, LYRICS, SEED, STEPS, CFG, GUIDANCE, SAMPLER, SCHEDULER, DENOISE, WIDTH, HEIGHT, SIZE,
    ASPECT_RATIO, MEGAPIXELS, RESOLUTION, BATCH_SIZE, LENGTH, DURATION, FPS, CHECKPOINT, DIFFUSION_MODEL, TEXT_ENCODER,
    VAE, LORA, LORA_STRENGTH, CONTROLNET, CONTROL_STRENGTH, CONTROL_IMAGE, CLIP_VISION, ADAPTER, STYLE_IMAGE,
    UPSCALE_MODEL, IMAGE, MASK, AUDIO, VIDEO, FILE,
)  # fmt: skip
