"""The daemon's lines in whatever wrapping others put around them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telemetry.log_reading import NotOurs, Unreadable, documents, numbered

LINE = '{"ts":"2026-11-28T00:00:02.1Z","event":"job.metric","job":"시장 {}","error":"a\\nb"}'
TOLD = json.loads(LINE)


def read(*lines: bytes) -> list[dict[str, Any] | Unreadable]:
    return [document for _, document in documents(numbered("log", lines))]


def docker(log: str, stream: str = "stdout") -> bytes:
    return json.dumps({"log": log, "stream": stream, "time": "2026-11-28T00:00:02Z"}).encode()


WRAPPED = {
    "as it is": LINE.encode(),
    "priority": b"<3>" + LINE.encode(),
    "mark and carriage return": b"\xef\xbb\xbf" + LINE.encode() + b"\r\n",
    "journal text": json.dumps({"MESSAGE": LINE, "PRIORITY": "6"}).encode(),
    "journal bytes": json.dumps({"MESSAGE": list(LINE.encode())}).encode(),
    "journal with the prefix left on": json.dumps({"MESSAGE": f"<6>{LINE}"}).encode(),
    "journal as server-sent events": b"data: " + json.dumps({"MESSAGE": LINE}).encode(),
    "journal as a sequence": b"\x1e" + json.dumps({"MESSAGE": LINE}).encode(),
    "journal, pretty": b'\t"MESSAGE" : ' + json.dumps(LINE).encode() + b",",
    "journal export": b"MESSAGE=" + LINE.encode(),
    "docker": docker(LINE + "\n"),
    "docker compose": b"upbitd-1  | " + LINE.encode(),
    "kubernetes": b"2026-11-28T00:00:02.1Z stdout F " + LINE.encode(),
    "short": b"Nov 28 09:00:02 host upbitd[4242]: " + LINE.encode(),
    "syslog": b"<30>1 2026-11-28T00:00:02Z host upbitd 42 - - " + LINE.encode(),
    "docker around the journal": docker(json.dumps({"MESSAGE": LINE}) + "\n"),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_line_is_found_in_its_wrapping(how: str) -> None:
    assert read(WRAPPED[how]) == [TOLD]


def test_the_parts_of_a_long_line_are_joined() -> None:
    lines = [docker(LINE[:20]), docker("other\n", "stderr"), docker(LINE[20:40]), docker(LINE[40:])]
    found = read(*lines[:3], docker(LINE[40:] + "\n"))
    assert [type(each) for each in found] == [NotOurs, dict]
    assert found[1] == TOLD
    assert read(*lines)[1] == TOLD  # the last one without a line end


@pytest.mark.parametrize(
    "line",
    [
        b"-- No entries --",
        b"{}",
        b"[]",
        b'{"log": null}',
        b'{"MESSAGE": null}',
        b'{"MESSAGE": [1, "a"]}',
        b'{"MESSAGE": [1000]}',
        b'{"event": 5}',
        b'{"MESSAGE": "hello"}',
        b"[" * 100_000,
        b'{"MESSAGE":' * 2000,
        b"\xff\xfe\x00",
    ],
)
def test_a_line_of_others_is_said_to_be_one(line: bytes) -> None:
    (found,) = read(line)
    assert isinstance(found, NotOurs)


def test_a_broken_line_of_ours_is_not_a_line_of_others() -> None:
    (found,) = read(LINE.encode()[:-5])
    assert isinstance(found, Unreadable)
    assert not isinstance(found, NotOurs)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_stop_it(lines: list[bytes]) -> None:
    assert len(read(*lines)) <= len(lines)
