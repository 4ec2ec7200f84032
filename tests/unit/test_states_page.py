"""docs/explanation/job-states.md is drawn from the table of edges; run this file to write it anew."""

from __future__ import annotations

from pathlib import Path

from gateway.domain import states

PAGE = Path(__file__).parents[2] / "docs/explanation/job-states.md"
SAYS = {
    states.Edge.BEGIN: "it is a pipeline, or a step that needs no worker: the gateway itself leads it on",
    states.Edge.CLAIM: "an idle worker takes it; its attempt is written before anything is sent",
    states.Edge.REQUEUE: "its attempt was lost, handed back, or failed in a way that another try may mend",
    states.Edge.CANCEL: "a client cancels it before it runs",
    states.Edge.REFUSE: "it can never run",
    states.Edge.EXPIRE: "it waited for longer than the queue limit",
    states.Edge.ASK_CANCEL: "a client cancels it while it runs; the worker is asked to stop it",
    states.Edge.CONFIRM_CANCEL: "the worker stopped it, or its attempt is gone",
    states.Edge.SUCCEED: "the worker's history says success, and every output is stored",
    states.Edge.FAIL: "an error of the graph, or no tries are left",
}


def page() -> str:
    """The page, from the table."""
    arrows = "\n".join(f"    {a} --> {b}: {edge}" for (a, edge), b in states.EDGES.items())
    rows = "\n".join(f"| `{a}` | {edge} | `{b}` | {SAYS[edge]} |" for (a, edge), b in states.EDGES.items())
    terminal = ", ".join(f"`{status}`" for status in sorted(states.TERMINAL))
    return f"""# Job states

Drawn from the table in `gateway/domain/states.py`; nothing else in the code changes a job's status.

```mermaid
stateDiagram-v2
    [*] --> queued
{arrows}
```

| from | edge | to | when |
| --- | --- | --- | --- |
{rows}

Terminal: {terminal}. A terminal job never changes again; past its retention it is gone (404).
Each edge is one line in the log, named after it (`job_claim`, `job_requeue`, `job_succeeded` …), and one stored event.
"""


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
