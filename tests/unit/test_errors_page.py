"""docs/reference/errors.md is drawn from the error tree; run this file to write it anew."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.domain import errors

PAGE = Path(__file__).parents[2] / "docs/reference/errors.md"
EXAMPLES = Path(__file__).parents[1] / "fixtures/errors/examples.json"  #: tests/integration/test_error_examples.py
#: Codes that no request of a caller brings about, and what they tell.
WITHOUT = {
    "rate_limited": "stands for `queue_full` and `too_many_streams` where a client knows neither",
    "upstream_unreachable": "the server lost its supervisor; it is started again with it",
    "store_unavailable": "the database is away or full; what was answered `201` is safe, ask again",
    "config_error": "told by the command line, which ends with status 2",
    "data_dir_locked": "told by the command line, which ends with status 2",
    "internal_error": "please report it, with the lines of the log",
}
WIDTH = 116
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


def known() -> list[dict[str, Any]]:
    """What was answered to requests that are wrong."""
    return json.loads(EXAMPLES.read_text(encoding="utf-8"))


def shown(value: Any, indent: int = 0, key: str = "") -> str:
    """JSON, on one line where there is room."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or indent + len(key) + len(line) <= WIDTH:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, list):
        parts = [f"{pad}{shown(item, indent + 2)}" for item in value]
    else:
        names = [(json.dumps(name, ensure_ascii=False) + ": ", item) for name, item in value.items()]
        parts = [f"{pad}{name}{shown(item, indent + 2, name)}" for name, item in names]
    start, end = "[]" if isinstance(value, list) else "{}"
    return ",\n".join([start + "\n" + parts[0], *parts[1:]]) + f"\n{' ' * indent}{end}"


def section(example: dict[str, Any]) -> str:
    """An example as the page has it."""
    answer = f"```json\n{shown(example['answer'])}\n```\n"
    if example.get("job"):
        return f"### `{example['code']}` of a job\n{answer}"
    body = example["body"]
    if body is not None and body.endswith("}") and not body.startswith("name="):
        body = shown(json.loads(body))
    request = example["request"] if body is None else f"{example['request']}\n\n{body.rstrip()}"
    return f"### `{example['code']}`, {example['status']}\n```http\n{request}\n```\n{answer}"


def page() -> str:
    """The page, from the tree and from what was answered."""
    told = "\n".join(section(example) for example in known())
    without = "\n".join(f"- `{code}`: {why}." for code, why in WITHOUT.items())
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
| `missing_asset`, `secret_lost` | no | An input was deleted before it ran; its partner key was lost in a restart. |
| `worker_killer` | no | It took down two different workers; `details.workers` tells how. |
| `out_of_memory` | yes | Card memory was too small; `details` has `size`, `vram_total`, `alone` and `advice`. |
| `cuda_fault` | yes | The worker's CUDA context is broken; it gets nothing more until it is restarted. |
| `execution_thread_dead` | yes | The worker answers, but the thread that runs prompts is dead. |
| `worker_died` | yes | The worker's process ended while it ran this. |
| `worker_lost` | yes | The worker went out of reach, or does not know the prompt any more. |
| `timeout` | yes | It ran for too long, or showed no sign of life for too long. |
| `output_unavailable` | yes | A file that it made could not be fetched. |
| `interrupted` | yes | Somebody interrupted it on the worker itself. |

## One of each
Requests that are wrong, and what was answered: `tests/integration/test_error_examples.py` sends each of them to a
gateway.

{told}
Nothing that a caller sends brings these about:

{without}

Drawn from `gateway/domain/errors.py` and from those answers; tests keep them the same.
"""


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page()


def test_every_error_that_a_client_may_see_has_a_code_and_a_status() -> None:
    for cls in tree(errors.GatewayError):
        assert cls.code
        assert 400 <= cls.status < 600


def test_each_has_an_example() -> None:
    # A new error is asked for in tests/integration/test_error_examples.py, which writes its example.
    codes = {cls.code for cls in tree(errors.GatewayError)} | {"method_not_allowed", "internal_error"}
    examples = {example["code"] for example in known() if not example.get("job")}
    assert codes == examples | WITHOUT.keys()
    assert not examples & WITHOUT.keys()


if __name__ == "__main__":
    PAGE.write_text(page())
