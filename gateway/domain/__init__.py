"""What is true without any I/O: the job model, its states, templates, placement, ComfyUI's wire format."""
