"""Line readers of common libraries: which of them split rows at other line breaks than line feeds, and what works instead."""

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property

import aiohttp
import httpx
import pytest
import requests
from rows import Row, make_rows

SEPARATORS = "a\u2028b\u2029c\u0085d"


@dataclass(frozen=True)
class OddRow(Row):
    """A row with raw line separators in a string, and longer than aiohttp's limit for a line."""

    @cached_property
    def raw(self) -> bytes:
        return super().raw[:-1] + f',"note":"{SEPARATORS}","long":"{"x" * 600_000}"}}'.encode()


def lines(chunks):
    """As in docs/reading-streams.md."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line)
    if rest:
        yield rest


@pytest.fixture
def agent(agent_of):
    rows = make_rows(2, 2)
    return agent_of([OddRow(**vars(row)) for row in rows], days=3)


def stream(agent) -> tuple[str, dict[str, str]]:
    return f"{agent.base}{agent.path}?format=ndjson", {"Authorization": f"Bearer {agent.key}"}


def assert_rows(read) -> None:
    notes = [json.loads(line)["note"] for line in read]
    assert notes == [SEPARATORS] * 2


def test_requests_reads_lines_of_bytes(agent):
    url, headers = stream(agent)
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        assert_rows(response.iter_lines(chunk_size=1 << 16))
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        response.encoding = "utf-8"
        assert len(list(response.iter_lines(chunk_size=1 << 16, decode_unicode=True))) > 2, "docs/reading-streams.md says otherwise"


def test_httpx_reads_bytes_that_are_split_at_line_feeds(agent):
    url, headers = stream(agent)
    with httpx.stream("GET", url, headers=headers, timeout=30) as response:
        assert_rows(lines(response.iter_bytes()))
    with httpx.stream("GET", url, headers=headers, timeout=30) as response:
        assert len(list(response.iter_lines())) > 2, "docs/reading-streams.md says otherwise"


def test_aiohttp_reads_chunks_that_are_split_at_line_feeds(agent):
    url, headers = stream(agent)

    async def read():
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers=headers) as response:
                chunks = [chunk async for chunk in response.content.iter_any()]
            assert_rows(lines(chunks))
            async with session.get(url, headers=headers) as response:
                with pytest.raises(aiohttp.http_exceptions.LineTooLong):
                    async for _ in response.content:
                        pass

    asyncio.run(read())


def test_node_splits_decoded_text_at_line_feeds(agent):
    node = shutil.which("node")
    assert node, "the test command installs it"
    url, headers = stream(agent)
    script = """
        const response = await fetch(process.argv[1], { headers: { Authorization: process.argv[2] } });
        const decoder = new TextDecoder();
        let rest = "", count = 0;
        for await (const piece of response.body) {
          const lines = (rest + decoder.decode(piece, { stream: true })).split("\\n");
          rest = lines.pop();
          for (const line of lines) if (line) { JSON.parse(line); count += 1; }
        }
        console.log(count);
    """
    command = [node, "--input-type=module", "-e", script, url, headers["Authorization"]]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() == "2"
