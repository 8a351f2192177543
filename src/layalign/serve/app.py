"""The HTTP application: thin, everything that thinks is elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from anyio import fail_after
from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from layalign.analysis.weights import Weights
from layalign.errors import ConfigError, LayAlignError, ServeError
from layalign.eval.systems import BARE, LAYALIGN, LayAlignSystem
from layalign.serve.engine import ClosingError, Engine, QueueFullError
from layalign.serve.guards import TooLargeError
from layalign.serve.insight import insight
from layalign.serve.jobs import Piece, Prompt
from layalign.serve.metrics import Metrics
from layalign.serve.pending import Pending
from layalign.serve.prompts import Reader
from layalign.serve.replies import (
    ChatReply,
    CompletionReply,
    Json,
    Reply,
    error_json,
    usage_of,
)
from layalign.serve.schema import AnyRequest, ChatRequest, CompletionRequest, T, read_request

V = TypeVar("V")
router = APIRouter()
demo = APIRouter()

BODY_SECONDS = 30.0
"""Seconds that a client has for the rest of a request after its head."""

LEFT = 499
"""Status for clients that have left, which nobody reads."""

PAGES = {"": "index.html", "page.css": "page.css", "page.js": "page.js"}
_OWN_ONLY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class NoModelError(ServeError):
    """A request names a model that is not served."""


@dataclass(frozen=True)
class Service:
    """What the endpoints share."""

    engine: Engine
    metrics: Metrics
    reader: Reader
    models: dict[str, str]
    """Names that clients know, and the systems behind them; the first is the default."""
    weights: Weights | None
    """What the page shows of the checkpoint."""

    def choose(self, asked: AnyRequest) -> tuple[str, str]:
        """Name and system of the model that a request is for.

        Raises:
            NoModelError: There is no such model.
        """
        name = asked.model or next(iter(self.models))
        if name not in self.models:
            raise NoModelError(f"there is no model {name!r}, only {', '.join(self.models)}")
        return name, BARE if asked.layalign == "off" else self.models[name]


def make_app(
    engine: Engine,
    metrics: Metrics,
    name: str,
    *,
    weights: Weights | None = None,
) -> FastAPI:
    """Build the application around an engine, which runs as long as the application does.

    Args:
        engine: Not started yet.
        metrics: That the engine tells of its jobs.
        name: What clients call the model; the bare language model is ``NAME-bare``.
        weights: The checkpoint's mixing weights; with them there is a page to try it on.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await run_in_threadpool(engine.close)

    first, *others = engine.systems
    models = {name: first} | {f"{name}-bare": other for other in others}
    metrics.watch(engine)
    # Their pages load scripts from elsewhere.
    app = FastAPI(title="layalign", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = Service(engine, metrics, Reader(engine.systems), models, weights)
    app.include_router(router)
    if weights is not None:
        app.include_router(demo)
    app.add_exception_handler(LayAlignError, _refused)
    app.add_exception_handler(HTTPException, _failed)
    app.add_exception_handler(Exception, _broken)
    return app


@router.get("/health")
async def health(request: Request) -> JSONResponse:
    """Whether requests are answered, and how many are here."""
    engine = _service(request).engine
    alive = engine.is_alive
    state = {"waiting": engine.waiting, "running": engine.running}
    return JSONResponse({"status": "ok" if alive else "closing", **state}, 200 if alive else 503)


@router.get("/metrics")
async def metrics(request: Request) -> PlainTextResponse:
    """Figures for Prometheus."""
    kind = "text/plain; version=0.0.4; charset=utf-8"
    return PlainTextResponse(_service(request).metrics.text(), media_type=kind)


@router.get("/v1/models")
async def models(request: Request) -> Json:
    """The models that can be named."""
    return {"object": "list", "data": [_model(name) for name in _service(request).models]}


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Json:
    """One of them."""
    return _model(_service(request).choose(ChatRequest(messages=(), model=name))[0])


@router.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """Answer a conversation."""
    asked = await _body(request, ChatRequest)
    service = _service(request)
    turns = [message.turn() for message in asked.messages]

    def read(system: str) -> list[Prompt]:
        feature = service.reader.chat(
            system, turns, language=asked.language, encoder_text=asked.encoder_text
        )
        return [service.engine.prompt(system, feature)]

    name, system = service.choose(asked)
    return await _answer(request, asked, await run_in_threadpool(read, system), ChatReply, name)


@router.post("/v1/completions")
async def complete(request: Request) -> Response:
    """Continue texts."""
    asked = await _body(request, CompletionRequest)
    service = _service(request)

    def read(system: str) -> list[Prompt]:
        features = (
            service.reader.text(
                system, text, language=asked.language, encoder_text=asked.encoder_text
            )
            for text in asked.prompts()
        )
        return [service.engine.prompt(system, feature) for feature in features]

    name, system = service.choose(asked)
    prompts = await run_in_threadpool(read, system)
    return await _answer(request, asked, prompts, CompletionReply, name)


@demo.get("/")
@demo.get("/{name}")
async def page(name: str = "") -> FileResponse:
    """The page to try the checkpoint on; it loads nothing from anywhere else."""
    if name not in PAGES:
        raise HTTPException(404, "Not Found")
    file = Path(__file__).parent / "page" / PAGES[name]
    return FileResponse(file, headers={"Content-Security-Policy": _OWN_ONLY})


@demo.post("/used")
async def used(request: Request) -> Json:
    """What LayAlign makes of a question."""
    asked = await _body(request, ChatRequest)
    service = _service(request)
    system, weights = service.engine.systems[LAYALIGN], service.weights
    assert isinstance(system, LayAlignSystem)
    assert weights is not None
    turns = [message.turn() for message in asked.messages]
    prompt = await run_in_threadpool(
        lambda: service.engine.prompt(
            LAYALIGN, service.reader.chat(LAYALIGN, turns, language=asked.language)
        )
    )
    found = service.engine.call(lambda: insight(system, prompt.feature, weights))
    return await _unless_gone(request, asyncio.wrap_future(found)) or {}


async def _answer(
    request: Request, asked: AnyRequest, prompts: list[Prompt], kind: type[Reply], name: str
) -> Response:
    service, samplings = _service(request), asked.samplings()
    tokenizer = service.engine.systems[prompts[0].system].tokenizer
    reply = kind(name, tokenizer, logprobs=samplings[0].logprobs is not None)
    pairs = [(prompt, sampling) for prompt in prompts for sampling in samplings]
    try:
        pending = Pending(service.engine, pairs)
    except QueueFullError:
        service.metrics.turned_away()
        raise
    if asked.stream:
        events = _events(pending, reply, asked)
        return StreamingResponse(events, media_type="text/event-stream")
    return await _whole(request, pending, reply, len(samplings))


async def _events(pending: Pending, reply: Reply, asked: AnyRequest) -> AsyncIterator[str]:
    """Server-sent events; the client that leaves cancels its answers."""
    opened: set[int] = set()
    try:
        async for index, piece in pending.pieces():
            if index not in opened and (opening := reply.opening(index)):
                yield _event(opening)
            opened.add(index)
            if piece.error:
                yield _event(_error_of(piece))
                return
            if piece.text or piece.reason or (piece.chosen and piece.chosen.logprob is not None):
                yield _event(reply.chunk(index, piece))
        if asked.with_usage:
            yield _event(reply.closing(usage_of(pending.jobs, n=asked.n or 1)))
        yield "data: [DONE]\n\n"
    finally:
        pending.cancel()


async def _whole(request: Request, pending: Pending, reply: Reply, n: int) -> Response:
    try:
        answers = await _unless_gone(request, pending.whole())
    finally:
        pending.cancel()
    if answers is None:
        return Response(status_code=LEFT)
    for pieces in answers:
        if pieces[-1].error:
            return _given_up(pieces[-1])
    return JSONResponse(reply.whole(answers, usage_of(pending.jobs, n=n)))


def _given_up(last: Piece) -> JSONResponse:
    """An answer that failed; of one that took too long, clients would ask for the same again."""
    if _is_late(last):
        return JSONResponse(_error_of(last), 504, headers={"x-should-retry": "false"})
    return JSONResponse(_error_of(last), 500)


async def _unless_gone(request: Request, wanted: Awaitable[V]) -> V | None:
    """Wait for something as long as the client does; None once that has left."""
    found = asyncio.ensure_future(wanted)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({found, gone}, return_when=asyncio.FIRST_COMPLETED)
        return found.result() if found.done() else None
    finally:
        found.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, kind: type[T]) -> T:
    """Read a request strictly.

    Raises:
        ConfigError: It is not JSON, or not one of these requests.
        HTTPException: It does not come in time, or does not say that it is JSON: any page in a
            browser may send other kinds here, without asking first.
    """
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != "application/json":
        raise HTTPException(415, f"Content-Type is {said!r}; expected application/json")
    try:
        with fail_after(BODY_SECONDS):
            body = await request.body()
        values = json.loads(body)
    except TimeoutError as error:
        raise HTTPException(408, f"no whole request came in {BODY_SECONDS:g} s") from error
    except ClientDisconnect as error:
        raise HTTPException(LEFT, "the client has left") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the body is not JSON: {type(error).__name__}") from error
    if not isinstance(values, dict):
        raise ConfigError("the body is not a JSON object")
    return await run_in_threadpool(read_request, kind, values)  # a long one takes a second


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "layalign"}


def _event(values: Json) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def _is_late(piece: Piece) -> bool:
    return piece.reason == "timeout"


def _error_of(piece: Piece) -> Json:
    return error_json(piece.error, "timeout" if _is_late(piece) else "server_error")


async def _refused(_: Request, error: Exception) -> JSONResponse:
    """A request that cannot be taken, as what the client may do about it."""
    if isinstance(error, NoModelError):
        body = error_json(str(error), "invalid_request_error", code="model_not_found")
        return JSONResponse(body, 404)
    if isinstance(error, QueueFullError):
        again = {"Retry-After": str(error.retry_after)}
        return JSONResponse(error_json(str(error), "rate_limit_error"), 429, headers=again)
    if isinstance(error, ClosingError):
        return JSONResponse(error_json(str(error), "server_error"), 503)
    body = error_json(str(error), "invalid_request_error")
    return JSONResponse(body, 413 if isinstance(error, TooLargeError) else 400)


async def _broken(_: Request, error: Exception) -> JSONResponse:
    """A mistake of our own, of which the log says more."""
    message = f"the request failed ({type(error).__name__}); the server's log may say more"
    return JSONResponse(error_json(message, "server_error"), 500)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """A request that is no question."""
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code in (404, 405):
        message = f"this server has no {request.method} {request.url.path}"
    body = error_json(message, "invalid_request_error")
    return JSONResponse(body, error.status_code, headers=error.headers)
