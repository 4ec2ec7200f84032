"""What the container image of a worker runs: fetch models, start one pinned ComfyUI, tell when it is ready.

Standard library only, because it runs beside ComfyUI and must not meddle with its packages.
"""
