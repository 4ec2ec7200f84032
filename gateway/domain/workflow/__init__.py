"""Workflows as ComfyUI's editor saves them: read, and turned into the graph that the editor would post."""
