"""What `comfy-gateway jobs retry` does."""

from __future__ import annotations

from gateway.cli import client, job_tables, output, shapes


async def retry(job_id: str, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Order an ended job again."""
    async with client.connect(url, api_key) as gateway:
        job = await job_tables.find(gateway, job_id)
        again = await gateway.retry(job.id)
    if screen.as_json:
        screen.json(again.raw)
        return
    screen.out.print(output.plain(f"{shapes.short(again.id)}  {again.raw.get('template')}, {again.status}"))
    screen.note(f"Follow it with: comfy-gateway jobs watch {shapes.short(again.id)}")
