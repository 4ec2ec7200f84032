"""Parameters that the author wrote into the graph, in one of the dialects that other tools gave ComfyUI's users.

Each dialect is a module that knows its nodes or titles and yields what they declare; `reading` turns that into
parameters and takes the nodes out that only hand a value on, so that a worker needs no node pack for them.
"""
