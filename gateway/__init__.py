"""One endpoint in front of all your ComfyUI GPUs."""

__version__ = "0.1.0"
