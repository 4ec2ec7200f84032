"""Asks ComfyUI's own editor what it would post for workflows: its frontend, a saved object_info, a headless Chromium.

    pip download --no-deps --dest DIR comfyui-frontend-package==1.49.6 && unzip DIR/*.whl -d DIR
    PYTHONPATH=. .venv/bin/python tests/conformance/tools/record_editor.py \
        DIR/comfyui_frontend_package/static OBJECT_INFO.json.gz tests/fixtures/workflows/recorded.json

The last file holds `{name: {"workflow": …, "graph": …}}`; its graphs are recorded anew. No ComfyUI is needed: what the
frontend asks as it starts is answered by this program. Templates with a Load3D cannot be posted, since nobody takes
their uploads.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

_CHROMIUM = (
    "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0", "--window-size=1600,1000",
)  # fmt: skip
_READY = "!!(window.app && app.graph && Object.keys(LiteGraph.registered_node_types).length > 100)"
_ASK = """(async () => {
    await app.loadGraphData(%s);
    await new Promise(done => setTimeout(done, 150));
    return JSON.stringify((await app.graphToPrompt()).output);
})()"""
_VERSION = "0.33.0"


def answers(info: Any) -> dict[str, Any]:
    """What the frontend asks for as it starts."""
    system = {"os": "posix", "comfyui_version": _VERSION, "python_version": "3", "embedded_python": False, "argv": []}
    return {
        "object_info": info,
        "system_stats": {"system": system, "devices": []},
        "settings": {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingNodesWarning": False},
        "users": {"storage": "server", "migrated": True},
        "queue": {"queue_running": [], "queue_pending": []},
        "jobs": {"jobs": [], "pagination": {"offset": 0, "limit": 0, "total": 0, "has_more": False}},
        "extensions": [],
        "embeddings": [],
        **{name: {} for name in ("history", "features", "i18n", "workflow_templates", "global_subgraphs")},
    }


def server(static: Path, info: Any) -> web.Application:
    """The frontend and as much of a ComfyUI as it needs."""
    known = answers(info)

    async def api(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in known:
            return web.json_response([] if name.startswith("userdata") and request.query else None, status=404)
        return web.json_response(body=orjson.dumps(known[name]))

    async def socket(request: web.Request) -> web.WebSocketResponse:
        made = web.WebSocketResponse()
        await made.prepare(request)
        status = {"exec_info": {"queue_remaining": 0}}
        await made.send_json({"type": "status", "data": {"status": status, "sid": "recorder"}})
        async for _ in made:
            pass
        return made

    async def index(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(static / "index.html")

    app = web.Application()
    app.router.add_get("/ws", socket)
    app.router.add_route("*", "/api/{name:.*}", api)
    app.router.add_get("/", index)
    app.router.add_static("/", static)
    return app


class Page:
    """A tab of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the DevTools protocol."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": params})
        async for message in self._socket:
            answer = orjson.loads(message.data)
            if answer.get("id") == self._calls:
                return answer["result"]
        raise RuntimeError("the browser has gone")

    async def run(self, code: str) -> Any:
        """The value of an expression in the page; RuntimeError with what it throws."""
        found = await self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"].get("exception", {}).get("description"))[:300])
        return found["result"].get("value")


async def record(static: Path, info: Any, workflows: Mapping[str, Any]) -> dict[str, Any]:
    """For each workflow the graph that the editor would post, or `{"error": …}`."""
    runner = web.AppRunner(server(static, info))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        silent = asyncio.subprocess.DEVNULL
        browser = await asyncio.create_subprocess_exec(
            *_CHROMIUM, f"--user-data-dir={profile}", "about:blank", stdout=silent, stderr=silent
        )
        try:
            debugger = await _port(Path(profile) / "DevToolsActivePort")
            return await _asked(debugger, runner.addresses[0][1], workflows)
        finally:
            browser.terminate()
            await browser.wait()
            await runner.cleanup()


async def _port(file: Path) -> int:
    while not file.exists() or not file.read_text().strip():
        await asyncio.sleep(0.1)
    return int(file.read_text().split()[0])


async def _asked(debugger: int, port: int, workflows: Mapping[str, Any]) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{debugger}/json") as answer:
            address = next(tab["webSocketDebuggerUrl"] for tab in await answer.json() if tab["type"] == "page")
        async with session.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            await page.call("Page.enable")
            await page.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
            while not await page.run(_READY):
                await asyncio.sleep(0.3)
            await asyncio.sleep(2)  # extensions
            return {name: await _graph(page, workflow) for name, workflow in workflows.items()}


async def _graph(page: Page, workflow: Any) -> Any:
    try:
        return orjson.loads(await page.run(_ASK % orjson.dumps(workflow).decode()))
    except RuntimeError as error:
        return {"error": str(error).splitlines()[0]}


def main() -> None:
    """Record the graphs of a file anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("static", type=Path)
    parser.add_argument("object_info", type=Path)
    parser.add_argument("file", type=Path)
    wanted = parser.parse_args()
    data = wanted.object_info.read_bytes()
    info = orjson.loads(gzip.decompress(data) if wanted.object_info.suffix == ".gz" else data)
    cases = orjson.loads(wanted.file.read_bytes())
    graphs = asyncio.run(record(wanted.static, info, {name: case["workflow"] for name, case in cases.items()}))
    made = {name: {**case, "graph": graphs[name]} for name, case in cases.items()}
    lines = ",\n".join(f"{orjson.dumps(name).decode()}: {orjson.dumps(case).decode()}" for name, case in made.items())
    wanted.file.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
