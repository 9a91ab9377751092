"""The way into every REST call: quotas, tokens, parameters, and errors in each half's own form."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from jobs.matching.rules import VenueError
from sandbox import auth
from sandbox.answers import Json, error, http_date, numbers, strings
from sandbox.faults import FAULT, Fault
from sandbox.params import Params, from_json, from_query
from sandbox.quotas import Limited
from sandbox.refusals import Quotation
from sandbox.venue import Pocket, Venue

TOO_MANY = 429
GATEWAY_PAGE = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A quotation request that passed its quota."""

    venue: Venue
    params: Params
    path: dict[str, str]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An exchange request of a known key. `fault` may say how a new order goes wrong."""

    venue: Venue
    pocket: Pocket
    key: auth.Key
    params: Params
    now: datetime
    fault: Fault | None


def quotation(venue: Venue, group: str, handle: Callable[[Ask], object]) -> Endpoint:
    """An endpoint that anybody may call; numbers are JSON numbers, error names the status."""

    async def endpoint(request: Request) -> Response:
        now = venue.now()
        counted = "origin" if "origin" in request.headers else group
        headers = {"limit-by-ip": "Yes"}
        try:
            quota = venue.quotas.take(f"ip:{_ip(request)}", counted, now)
            headers["remaining-req"] = quota
            params = from_query(request.scope["query_string"].decode("ascii", "replace"))
            ask = Ask(venue=venue, params=params, path=request.path_params, now=now)
            body, status = numbers(handle(ask)), 200
        except Quotation as refusal:
            status = refusal.status
            body = numbers(error(status, refusal.message))
        except Limited as refusal:
            headers["remaining-req"] = venue.quotas.header(f"ip:{_ip(request)}", counted, now)
            return _too_many(venue, refusal, refusal.status, headers)
        return _answer(venue, body, status, headers)

    return endpoint


def exchange(
    venue: Venue,
    group: str,
    permission: str | None,
    handle: Callable[[Call], object],
    *,
    status: int = 200,
) -> Endpoint:
    """An endpoint that needs a token; numbers are strings, error names are words."""

    async def endpoint(request: Request) -> Response:
        now = venue.now()
        scope, headers = f"ip:{_ip(request)}", {}
        try:
            key, claims = auth.identify(venue.keys, request.headers.get("authorization"))
            scope = f"pocket:{key.pocket}"
            headers["remaining-req"] = venue.quotas.take(scope, group, now)
            auth.admit(key, claims, ip=_ip(request), now=now, options=venue.options)
            params = await _params(venue, request)
            auth.check_hash(claims, params.hashed)
            auth.allow(key, permission, venue.options)
            pocket = venue.pockets[key.pocket]
            venue.advance(pocket)
            call = Call(
                venue=venue,
                pocket=pocket,
                key=key,
                params=params,
                now=now,
                fault=request.scope.get(FAULT),
            )
            try:
                return _answer(venue, strings(handle(call)), status, headers)
            finally:
                venue.collect(pocket)
        except Limited as refusal:
            headers["remaining-req"] = venue.quotas.header(scope, group, now)
            name = "too_many_requests" if refusal.status == TOO_MANY else "blocked"
            return _too_many(venue, refusal, name, headers)
        except VenueError as refusal:
            headers.setdefault("remaining-req", venue.quotas.header(scope, group, now))
            body = strings(error(refusal.name, refusal.message))
            return _answer(venue, body, refusal.status, headers)

    return endpoint


def no_route(venue: Venue) -> Endpoint:
    """What the gateway says to a path that leads nowhere."""

    async def endpoint(request: Request) -> Response:  # noqa: ARG001 - an endpoint
        body = strings(error("not_found", "no Route matched with those values"))
        return _answer(venue, body, 404, {})

    return endpoint


def _ip(request: Request) -> str:
    return request.client.host if request.client else ""


async def _params(venue: Venue, request: Request) -> Params:
    query = from_query(request.scope["query_string"].decode("ascii", "replace"))
    body = await request.body()
    if request.method == "POST":
        return from_json(body)
    if not body:
        return query
    is_get = request.method == "GET"
    accepts = (venue.options.get_body if is_get else venue.options.delete_body) == "accept"
    if accepts and not query.pairs:
        return from_query(body.decode(errors="replace")) if is_get else from_json(body)
    if is_get:
        return query
    message = "query parameters only: the request has a body"
    raise VenueError("QUERY_PARAMETER_NOT_SUPPORTED", 400, message)


def _answer(venue: Venue, body: bytes, status: int, headers: dict[str, str]) -> Response:
    shown = headers | {
        "date": http_date(venue.date()),
        "cache-control": "no-cache, no-store, max-age=0, must-revalidate",
    }
    if not venue.options.remaining_req:
        shown.pop("remaining-req", None)
    return Json(body, status, shown)


def _too_many(venue: Venue, refusal: Limited, name: str | int, headers: dict[str, str]) -> Response:
    kind = venue.options.too_many_body
    if kind == "json" or refusal.status != TOO_MANY:
        body = numbers(error(name, refusal.message))
    else:
        text = {"text": refusal.message, "empty": "", "html": GATEWAY_PAGE.format(TOO_MANY)}
        body = text[kind].encode()
    answer = _answer(venue, body, refusal.status, headers)
    if kind != "json" and refusal.status == TOO_MANY:
        answer.headers["content-type"] = "text/html" if kind == "html" else "text/plain"
    return answer
