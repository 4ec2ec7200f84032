"""What inputs of ComfyUI's nodes mean by their names: the tables that the walk goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.domain.templates import roles

#: Inputs of samplers, schedulers and guiders that mean what they are called, in any node pack.
SAMPLER_FIELDS: Final[Mapping[str, str]] = {
    "seed": roles.SEED,
    "noise_seed": roles.SEED,
    "steps": roles.STEPS,
    "cfg": roles.CFG,
    "cfg_conds": roles.CFG,
    "sampler_name": roles.SAMPLER,
    "scheduler": roles.SCHEDULER,
    "denoise": roles.DENOISE,
}
#: Links from a sampler to the nodes that hold such inputs for it.
SAMPLER_PARTS: Final = ("noise", "sigmas", "sampler", "guider")
PART_CHAINS: Final = ("noise", "sigmas", "sampler", "guider", "noise1", "noise2")

POSITIVE_LINKS: Final = ("positive", "conditioning", "cond1", "positive_conditioning")
#: `cond2` of a guider with two conditions is the one between the two: what to keep, said with the negative words.
NEGATIVE_LINKS: Final = ("negative", "cond2", "negative_conditioning")
MODEL_LINKS: Final = ("guider", "model", "unet")
LATENT_LINKS: Final = ("latent_image", "latent", "samples", "latents")

#: Inputs of text encoders that hold what a person writes; the first that is there is the prompt proper.
TEXT_FIELDS: Final = (
    "text", "prompt", "text_g", "text_l", "t5xxl", "clip_l", "clip_g", "llama", "tags", "caption", "positive_prompt",
)  # fmt: skip
#: Inputs of encoders that make both halves, for the negative one.
NEGATIVE_TEXT_FIELDS: Final = ("negative_prompt", "negative_text", "text_negative")
NOT_CONDITIONING: Final = frozenset({
    "model", "clip", "vae", "image", "images", "pixels", "mask", "control_net", "latent", "samples", "latent_image",
    "clip_vision", "clip_vision_output", "start_image", "end_image", "audio", "audio_encoder_output", "style_model",
    "reference_image", "noise", "sigmas", "sampler", "width", "height", "length", "batch_size",
})  # fmt: skip
NOT_LATENT: Final = frozenset({
    "model", "clip", "vae", "positive", "negative", "conditioning", "guider", "sampler", "sigmas", "noise",
    "control_net", "clip_vision_output", "upscale_model", "audio_vae", "mask", "switch",
})  # fmt: skip

#: Model files by the input that names them.
MODEL_FIELDS: Final[Mapping[str, str]] = {
    "ckpt_name": roles.CHECKPOINT,
    "unet_name": roles.DIFFUSION_MODEL,
    "clip_name": roles.TEXT_ENCODER,
    "clip_name1": roles.TEXT_ENCODER,
    "clip_name2": roles.TEXT_ENCODER,
    "clip_name3": roles.TEXT_ENCODER,
    "clip_name4": roles.TEXT_ENCODER,
    "vae_name": roles.VAE,
    "lora_name": roles.LORA,
    "control_net_name": roles.CONTROLNET,
    "ipadapter_file": roles.ADAPTER,
    "style_model_name": roles.ADAPTER,
}
NAMED_ANYWHERE: Final[Mapping[tuple[str, str], str]] = {
    ("FluxGuidance", "guidance"): roles.GUIDANCE,
    ("CLIPTextEncodeFlux", "guidance"): roles.GUIDANCE,
    ("CLIPTextEncodeHunyuanDiT", "guidance"): roles.GUIDANCE,
    ("UpscaleModelLoader", "model_name"): roles.UPSCALE_MODEL,
    ("CLIPVisionLoader", "clip_name"): roles.CLIP_VISION,
    ("CreateVideo", "fps"): roles.FPS,
    ("VHS_VideoCombine", "frame_rate"): roles.FPS,
    ("ControlNetApply", "strength"): roles.CONTROL_STRENGTH,
    ("ControlNetApplyAdvanced", "strength"): roles.CONTROL_STRENGTH,
    ("ControlNetApplySD3", "strength"): roles.CONTROL_STRENGTH,
}
#: In nodes that call a service, and wherever there is no sampler, these names still tell.
NAMES_THAT_TELL: Final[Mapping[str, str]] = {
    "prompt": roles.PROMPT,
    "text": roles.PROMPT,
    "text_prompt": roles.PROMPT,
    "negative_prompt": roles.NEGATIVE_PROMPT,
    "seed": roles.SEED,
    "Seed": roles.SEED,
    "model_seed": roles.SEED,
    "steps": roles.STEPS,
    "width": roles.WIDTH,
    "height": roles.HEIGHT,
    "size": roles.SIZE,
    "size_preset": roles.SIZE,
    "aspect_ratio": roles.ASPECT_RATIO,
    "ratio": roles.ASPECT_RATIO,
    "resolution": roles.RESOLUTION,
    "duration": roles.DURATION,
    "duration_seconds": roles.DURATION,
}
#: By one of these an input tells that its node makes something.
NAMES_OF_MAKERS: Final = frozenset({"prompt", "text_prompt", "text", "seed", "Seed"})
ROLES_OF_MAKERS: Final = frozenset({roles.STEPS, roles.SIZE, roles.ASPECT_RATIO, roles.RESOLUTION, roles.DURATION})
#: Words in the classes that change a picture's size.
RESIZERS: Final = ("Scale", "Resize")
#: Words in the classes that give a picture its size, which a latent may take from it.
PICTURES: Final = (*RESIZERS, "EmptyImage")
#: A preset of this name leaves the size to width and height; with any other they are ignored.
CUSTOM_PRESETS: Final = frozenset({"custom", ""})
SIZE_FIELDS: Final[Mapping[str, str]] = {
    "width": roles.WIDTH,
    "height": roles.HEIGHT,
    "batch_size": roles.BATCH_SIZE,
    "length": roles.LENGTH,
    "num_frames": roles.LENGTH,
    "seconds": roles.LENGTH,
}
#: Words in the title of a primitive that holds seconds, of which frames are worked out.
SECONDS: Final = ("duration", "second")
#: Inputs of other nodes that must keep to the size that the latent has; they are set with it when they agree with it.
COMPANIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "ModelSamplingFlux": {"width": roles.WIDTH, "height": roles.HEIGHT},
    "Flux2Scheduler": {"width": roles.WIDTH, "height": roles.HEIGHT},
    "Ideogram4Scheduler": {"width": roles.WIDTH, "height": roles.HEIGHT},
    "SVD_img2vid_Conditioning": {"width": roles.WIDTH, "height": roles.HEIGHT},
    "CLIPTextEncodeSDXL": {
        "width": roles.WIDTH, "target_width": roles.WIDTH, "height": roles.HEIGHT, "target_height": roles.HEIGHT,
    },
    "TextEncodeAceStepAudio1.5": {"duration": roles.LENGTH},
}  # fmt: skip
#: Roles whose values are texts.
TEXT_ROLES: Final = frozenset({
    roles.PROMPT, roles.NEGATIVE_PROMPT, roles.LYRICS, roles.SAMPLER, roles.SCHEDULER, roles.SIZE, roles.ASPECT_RATIO,
})  # fmt: skip
#: Roles whose values are texts with some nodes and numbers with others.
EITHER_ROLES: Final = frozenset({roles.RESOLUTION, roles.DURATION})
FILE_ROLES: Final = frozenset({*MODEL_FIELDS.values(), roles.UPSCALE_MODEL, roles.CLIP_VISION})

#: Nodes that use a picture to lead or to style another one, by words in their class.
CONTROLS: Final = ("ControlNetApply", "SetUnionControlNetType", "ControlNetInpaintingAliMama", "DiffsynthControlnet")
STYLES: Final = ("IPAdapter",)
#: Nodes that show or measure a picture and do nothing else with it.
ONLOOKERS: Final = frozenset({"PreviewImage", "ImageCompare", "GetImageSize", "SaveImage", "MaskPreview"})
#: What a node has that does more with a picture than change it into another picture.
ENDS: Final = frozenset(
    {"vae", "clip", "clip_vision", "positive", "conditioning", "model", "latent", "samples", "prompt"}
)


def telling(name: str) -> str | None:
    """What an input of this name means wherever it stands; texts may be numbered (`text1`)."""
    plain = name.rstrip("0123456789")
    role = NAMES_THAT_TELL.get(name)
    return NAMES_THAT_TELL.get(plain) if role is None and plain in {"text", "prompt"} else role
