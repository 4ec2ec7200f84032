"""The workflow inside a picture, film or sound that ComfyUI made: bytes in, JSON out.

The readers here take the few fields that they need out of a container, by its own structure, without decoding what it
shows. They are ours because such files come from strangers: no reader inflates or copies more than `parts.MAX_TEXT`
bytes, each visits a bounded number of parts, and none trusts a length.
"""
