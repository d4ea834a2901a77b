"""App: the page and its three questions over HTTP. A body is the bare file: form parsers spool to a disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from scopeline.assemble import installed_version
from scopeline.errors import ScopelineError
from scopeline_training.page.examiner import Examiner
from scopeline_training.page.upload import (
    CLIP_LIMIT,
    CLIP_S,
    PICTURE_LIMIT,
    UploadError,
    check_size,
    kind_of,
)

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_OWN_NAMES = {"127.0.0.1", "localhost", "::1"}
_SNIFFED = 512
"""Bytes that tell what a file is."""

T = TypeVar("T")


def build_app(examiner: Examiner) -> FastAPI:
    """The page around an examiner, which is closed when the page ends.

    All judging is done in one thread: a network belongs to one, and two clips at a time would only take turns.
    """
    worker = ThreadPoolExecutor(1, "page")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            worker.shutdown()
            examiner.close()

    app = FastAPI(
        lifespan=lifespan,
        dependencies=[Depends(_own_name)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )

    async def work(task: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(worker, task)

    @app.exception_handler(ScopelineError)
    async def refuse(_request: Request, error: ScopelineError) -> Response:
        return _json({"error": str(error)}, error.status if isinstance(error, UploadError) else 422)

    @app.get("/")
    async def page() -> Response:
        return HTMLResponse(
            files("scopeline_training.page").joinpath("index.html").read_text("utf-8"), headers=_HEADERS
        )

    @app.get("/api/about")
    async def about() -> Response:
        return _json(_about(examiner))

    @app.post("/api/judge")
    async def judge(request: Request) -> Response:
        data = await _body(request)
        return _json(await work(lambda: examiner.examine(data)))

    @app.post("/api/map")
    async def look(
        request: Request,
        head: Annotated[str, Query()],
        label: Annotated[str, Query()],
        frame: Annotated[int | None, Query()] = None,
        time_s: Annotated[float, Query(ge=0, le=CLIP_S)] = 0.0,
    ) -> Response:
        data = await _body(request)
        return _json(await work(lambda: examiner.explain(data, head, label, frame=frame, time_s=time_s)))

    return app


def _about(examiner: Examiner) -> dict[str, Any]:
    return {
        "pipeline": examiner.pipeline.name,
        "version": installed_version(),
        "map": examiner.map_method.words,
        "heads": [{"name": head.name, "role": head.role, "labels": head.labels} for head in examiner.heads],
        "picture_bytes": PICTURE_LIMIT,
        "clip_bytes": CLIP_LIMIT,
        "clip_s": CLIP_S,
    }


async def _body(request: Request) -> bytes:
    """The file, in memory; refused as soon as it is known to be of another kind or too large.

    Raises:
        UploadError: it is.
    """
    said = request.headers.get("content-length", "")
    declared = int(said) if said.isdigit() else 0
    check_size(declared, "clip")
    body, kind = bytearray(), None
    async for chunk in request.stream():
        body += chunk
        if kind is None and len(body) >= _SNIFFED:
            kind = kind_of(bytes(body[:_SNIFFED]))
            check_size(declared, kind)
        check_size(len(body), kind or "picture")
    check_size(len(body), kind_of(bytes(body[:_SNIFFED])))
    return bytes(body)


def _own_name(request: Request) -> None:
    """Refuses requests to another name than this machine's own: a foreign site whose name leads here (DNS rebinding)
    could read the answers otherwise. Foreign pages that post are stopped by the browser: their type is not simple."""
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname
    if name not in _OWN_NAMES:
        raise HTTPException(421, "wanted a request to this machine's own name, such as 127.0.0.1")
    if request.method == "POST" and request.headers.get("content-type") != "application/octet-stream":
        raise HTTPException(415, "wanted the bare file as application/octet-stream")


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, _HEADERS, "application/json")
