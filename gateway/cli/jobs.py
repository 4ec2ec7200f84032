"""`comfy-gateway jobs`: what was ordered, how it stands, its end."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import connection, output


def app() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="List, show, follow and cancel jobs.", no_args_is_help=True)
    group.command("list")(list_jobs)
    group.command("show")(show)
    group.command("why")(why)
    group.command("watch")(watch)
    group.command("priority")(priority)
    group.command("retry")(retry)
    group.command("cancel")(cancel)
    return group


def list_jobs(
    *,
    status: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, …; several with commas.", show_default=False)
    ] = None,
    template: Annotated[str | None, typer.Option(help="Only jobs of this template.", show_default=False)] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only jobs with this note; may be repeated.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """List jobs, newest first.

    Examples:

        comfy-gateway jobs list --status queued,running

        comfy-gateway jobs list --metadata project=foxes --limit 100 --json
    """
    from gateway.cli import job_tables

    wish = job_tables.Wish(status=status, template=template, metadata=tuple(metadata or ()), limit=limit)
    output.run(lambda screen: job_tables.listing(wish, url, api_key, screen), as_json=as_json)


def show(
    job: Annotated[str, typer.Argument(metavar="ID", help="An id, or the end of one.")],
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Show a job: tries, inputs, outputs with their URLs, why it failed.

    Examples:

        comfy-gateway jobs show 5f9d20c1
    """
    from gateway.cli import job_tables

    output.run(lambda screen: job_tables.one(job, url, api_key, screen), as_json=as_json)


def why(
    job: Annotated[str, typer.Argument(metavar="ID", help="An id, or the end of one.")],
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Tell why a job waits, or why it ran where it did.

    Examples:

        comfy-gateway jobs why 5f9d20c1
    """
    from gateway.cli import job_tables

    output.run(lambda screen: job_tables.why(job, url, api_key, screen), as_json=as_json)


def watch(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Ids or their ends; none: all that have not ended.", show_default=False),
    ] = None,
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Follow jobs to their end. Ctrl-C leaves; the jobs go on.

    Examples:

        comfy-gateway jobs watch

        comfy-gateway jobs watch 5f9d20c1 77ab01e4 --json

    With --json every event is a line: {"job", "event", "data"}.
    Exit status 1 when one of them did not succeed.
    """
    from gateway.cli import job_watching

    output.run(lambda screen: job_watching.watch(jobs or [], url, api_key, screen), as_json=as_json)


def priority(
    job: Annotated[str, typer.Argument(metavar="ID", help="An id, or the end of one.")],
    level: Annotated[int, typer.Argument(metavar="N", min=-100, max=100, help="Higher goes first.")],
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Change the priority of a job that waits.

    Examples:

        comfy-gateway jobs priority 5f9d20c1 10

        comfy-gateway jobs priority 5f9d20c1 -- -10
    """
    from gateway.cli import pausing

    output.run(lambda screen: pausing.prioritize(job, level, url, api_key, screen), as_json=as_json)


def retry(
    job: Annotated[str, typer.Argument(metavar="ID", help="An id, or the end of one.")],
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Order an ended job of a template again, with the inputs it had. Steps of a pipeline that went well are kept.

    Examples:

        comfy-gateway jobs retry 5f9d20c1
    """
    from gateway.cli import retrying

    output.run(lambda screen: retrying.retry(job, url, api_key, screen), as_json=as_json)


def cancel(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids or their ends.", show_default=False)
    ] = None,
    *,
    batch: Annotated[str | None, typer.Option(metavar="ID", help="A batch, whole.", show_default=False)] = None,
    all_queued: Annotated[bool, typer.Option("--all-queued", help="Everything of yours that waits.")] = False,
    tenant: Annotated[
        str | None, typer.Option(help="With --all-queued: this tenant's (an admin's key).", show_default=False)
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="With --all-queued: all tenants' (an admin's key).")
    ] = False,
    running: Annotated[bool, typer.Option("--running", help="With --all-queued: what runs, too.")] = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Cancel jobs: one that waits ends at once, one that runs is asked to stop.

    Examples:

        comfy-gateway jobs cancel 5f9d20c1

        comfy-gateway jobs cancel --batch 0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11

        comfy-gateway jobs cancel --all-queued --running
    """
    from gateway.cli import job_watching

    wish = job_watching.Cancel(
        jobs=tuple(jobs or ()),
        batch=batch,
        all_queued=all_queued,
        tenant=tenant,
        everybody=everybody,
        running=running,
    )
    output.run(lambda screen: job_watching.cancel(wish, url, api_key, screen), as_json=as_json)
