"""ComfyUI's own formats: the API-format graph, node definitions, frames of the websocket, history entries."""
