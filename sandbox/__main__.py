"""`python -m sandbox`: a local Upbit and Gemini on loopback.

Prints one JSON line with its addresses and demo keys once it accepts connections, and ends with
exit code 0 on SIGTERM or SIGINT.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

from jobs.core.errors import JobError
from sandbox import books, recording
from sandbox.gemini import API_KEY
from sandbox.options import Options
from sandbox.quotes import Quotes
from sandbox.server import listen, serve
from sandbox.tape import Tape
from sandbox.venue import MAIN, Venue, utc_now

DATA = recording.SHIPPED
WARNING = "everybody who reaches this address may trade here and drive the exchange"
LEADER = "KRW-BTC"
PLAYED_DAYS = 14


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Returns 0, or 2 when it cannot start."""
    wanted = _parser().parse_args(argv)
    try:
        venue = build(wanted)
        line = listen(wanted.host, wanted.port)
    except (OSError, ValueError, JobError) as exc:
        sys.stderr.write(f"sandbox: {exc}\n")
        return 2
    if not ip_address(line.getsockname()[0]).is_loopback:
        sys.stderr.write(f"sandbox: {WARNING}\n")
    card = _card(venue, *line.getsockname()[:2])

    def announce() -> None:
        sys.stdout.write(json.dumps(card) + "\n")
        sys.stdout.flush()

    asyncio.run(serve(venue, line, announce, stop_on_eof=wanted.stop_on_eof))
    return 0


def build(wanted: argparse.Namespace) -> Venue:
    """The venue that the command line describes. Raises OSError or ValueError."""
    options = Options()
    options.update(dict(_option(text) for text in wanted.set))
    if wanted.strict:
        options.update({"get_body": "refuse", "delete_body": "refuse"})
    reels = recording.widened(recording.load(wanted.data), wanted.markets)
    tape = Tape(reels, origin=_origin(reels, utc_now(), wanted.anchor))
    maker = books.BookMaker(books.load_shapes(wanted.data))
    venue = Venue(Quotes(tape, maker), options=options, seed=wanted.seed)
    venue.open_pocket(MAIN, wanted.krw)
    venue.demo_key()
    return venue


def _origin(reels: dict[str, recording.Reel], now: datetime, anchor: datetime | None) -> datetime:
    """When the tape begins, so that `now` plays the recorded minute of `anchor`.

    By default that is the same time of day, two weeks into the recording, so that recorded days
    stay whole days.
    """
    leader = reels.get(LEADER) or max(reels.values(), key=lambda reel: reel.length)
    first = recording.from_minute(leader.windows[0].source)
    if anchor is None:
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        midnight = first.replace(hour=0, minute=0) + timedelta(days=PLAYED_DAYS)
        return first + (today - midnight)
    begin = recording.from_minute(recording.to_minute(anchor))
    if not timedelta(0) <= begin - first < timedelta(minutes=leader.length):
        last = recording.from_minute(leader.windows[0].source + leader.length - 1)
        raise ValueError(f"--anchor: {anchor:%FT%TZ} is not in the recording ({first} to {last})")
    return recording.from_minute(recording.to_minute(now)) - (begin - first)


def _card(venue: Venue, host: str, port: int) -> dict[str, object]:
    key = next(iter(venue.keys.values()))
    base = f"http://{host}:{port}"
    return {
        "base_url": base,
        "websocket_url": f"ws://{host}:{port}/websocket/v1",
        "control_url": f"{base}/sandbox",
        "gemini_base_url": base,
        "access_key": key.access_key,
        "secret_key": key.secret_key,
        "gemini_api_key": API_KEY,
    }


def _option(text: str) -> tuple[str, object]:
    name, found, value = text.partition("=")
    if not found:
        raise ValueError(f"--set: {text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A local Upbit and Gemini on loopback, replaying recorded market data.",
        epilog="example: python -m sandbox --port 8788 --anchor 2025-09-15T00:00:00Z",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8788, help="0: any free port (%(default)s)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of recordings")
    parser.add_argument(
        "--markets",
        type=int,
        default=0,
        metavar="N",
        help="invent markets until there are N; they play a recorded one",
    )
    parser.add_argument("--seed", type=int, help="fix order uuids and fill delays")
    parser.add_argument("--krw", type=Decimal, default=Decimal(10_000_000), help="opening balance")
    parser.add_argument(
        "--anchor", type=_instant, metavar="ISO", help="recorded instant that plays at the start"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the venue (sandbox/options.py), as JSON; may be repeated",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse parameters in bodies of GET and DELETE, which old clients send",
    )
    parser.add_argument(
        "--stop-on-eof", action="store_true", help="stop when standard input ends, too"
    )
    return parser


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


if __name__ == "__main__":
    sys.exit(main())
