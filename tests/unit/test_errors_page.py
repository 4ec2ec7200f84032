"""docs/reference/errors.md is drawn from the error tree; run this file to write it anew."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from gateway.domain import errors

PAGE = Path(__file__).parents[2] / "docs/reference/errors.md"
INTERNAL = (errors.LeaseLost, errors.TargetError, errors.WorkerError)  # never reach a client


def tree(cls: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    """The class and all below it, but for what never reaches a client."""
    if issubclass(cls, INTERNAL):
        return
    yield cls
    for below in cls.__subclasses__():
        if below.__module__ == errors.__name__:  # the command line has some of its own
            yield from tree(below)


def says(cls: type[errors.GatewayError]) -> str:
    """The first sentence of its docstring, on one line."""
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


def page() -> str:
    """The page, from the tree."""
    rows = "\n".join(
        f"| `{cls.code}` | {cls.status} | {says(cls)} |"
        for cls in tree(errors.GatewayError)
        if cls is not errors.GatewayError and {"code", "status"} & vars(cls).keys()
    )
    return f"""# Errors

Every error answer, on every route, is

```json
{{"error": {{"code": "…", "message": "…", "details": {{…}}}}}}
```

`code` is for programs and stable, `message` is for people, `details` may be null. What is wrong with a request comes
all at once, in `details.faults`: each with a `reason` (a stable word), a `message`, and its place as far as there is
one (`parameter`, `node`, `class_type`, `field`, `index` of a batch's member). A 429 or 503 carries `Retry-After`.

| code | status | meaning |
| --- | --- | --- |
{rows}
| `method_not_allowed` | 405 | There is such a path, and it does not take this method; `Allow` lists those it takes. |
| `internal_error` | 500 | A defect of ours; the log tells more. |

A job that fails carries its error in `job.error`, which is not an HTTP error. The same codes stand with each of its
`attempts`.

| code | tried again | meaning |
| --- | --- | --- |
| `node_execution_error` | no | A node raised an error; `node_id`, `class_type` and `traceback` tell which. |
| `invalid_workflow` | no | The worker refused the graph (elsewhere, if it only lacks a node or a file). |
| `missing_asset`, `secret_lost` | no | An input was deleted before the job ran; its partner key was lost in a restart. |
| `worker_killer` | no | It took down two different workers; `details.workers` tells how. |
| `out_of_memory` | yes | Card memory was too small; `details` has `size`, `vram_total`, `alone` and `advice`. |
| `cuda_fault` | yes | The worker's CUDA context is broken; it gets nothing more until it is restarted. |
| `execution_thread_dead` | yes | The worker answers, but the thread that runs prompts is dead. |
| `worker_died` | yes | The worker's process ended while it ran this. |
| `worker_lost` | yes | The worker went out of reach, or does not know the prompt any more. |
| `timeout` | yes | It ran for too long, or showed no sign of life for too long. |
| `output_unavailable` | yes | A file that it made could not be fetched. |
| `interrupted` | yes | Somebody interrupted it on the worker itself. |

Drawn from `gateway/domain/errors.py`; a test keeps the two the same.
"""


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page()


def test_every_error_that_a_client_may_see_has_a_code_and_a_status() -> None:
    for cls in tree(errors.GatewayError):
        assert cls.code
        assert 400 <= cls.status < 600


if __name__ == "__main__":
    PAGE.write_text(page())
