"""Programs written for upstream work with nothing but another base URL."""

import asyncio
import json

import aiohttp
import pytest
import requests
from answers import PATIENCE, assert_same, problem, raw_rows
from rows import DAY, SECOND, make_rows, now, text_of


async def every_page(base: str, agent_id: str, key: str) -> list[str]:
    """The loop of upstream's guide: without dates, page after page while there is more."""
    pages, page_number = [], 1
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}, timeout=timeout) as session:
        while True:
            query = {"page_number": page_number, "page_size": 50}
            async with session.get(f"{base}/v2/agent/{agent_id}/executions", params=query) as answer:
                answer.raise_for_status()
                pages.append(await answer.text())
            if not json.loads(pages[-1])["has_more"]:
                return pages
            page_number += 1


@pytest.mark.parametrize("count", [0, 50, 1_234])
def test_the_loop_of_upstreams_guide_gets_every_row(agent_of, upstream, count):
    rows = make_rows(count, 80)
    upstream.require_window = True
    agent = agent_of(rows, "--live-ttl", "10m")
    pages = asyncio.run(every_page(agent.base, agent.id, agent.key))
    assert_same([raw for page in pages for raw in raw_rows(page)], rows)
    for number, page in enumerate(pages, 1):
        envelope = json.loads(page)
        assert (envelope["page_number"], envelope["page_size"]) == (number, 50)
        # Only the last page has a total.
        assert envelope.get("total") == (count if number == len(pages) else None)
    assert all("from" in seen.query for seen in upstream.pages)


def test_a_page_with_dates_has_upstreams_bytes(agent_of, upstream):
    agent = agent_of(make_rows(300, 10))
    end = now() - DAY
    query = f"page_number=2&page_size=20&from={text_of(end - 6 * DAY)}&to={text_of(end)}&status=completed"
    path = f"/v2/agent/{agent.id}/executions?{query}"
    through = requests.get(agent.base + path, headers=agent.headers, timeout=30)
    direct = requests.get(upstream.url + path, headers=agent.headers, timeout=30)
    assert through.status_code == 200, through.text
    assert through.content == direct.content

    upstream.forget_log()
    swapped = "&".join(reversed(query.split("&")))
    again = requests.get(f"{agent.base}/v2/agent/{agent.id}/executions?{swapped}", headers=agent.headers, timeout=30)
    assert again.content == direct.content
    assert upstream.pages == []


def test_passes_on_the_status_and_the_text_of_upstreams_error(agent_of, upstream):
    agent = agent_of(make_rows(30, 10))
    end = now() // SECOND * SECOND
    url = f"{agent.base}/v2/agent/{agent.id}/executions"
    refused = requests.get(f"{url}?from=yesterday&to=today", headers=agent.headers, timeout=30)
    document = problem(refused, 400, "invalid_request")
    assert "yesterday" in document["detail"] and "yesterday" in document["message"]
    sized = requests.get(
        f"{url}?page_size=51&from={text_of(end - DAY)}&to={text_of(end)}", headers=agent.headers, timeout=30
    )
    problem(sized, 422, "invalid_request")
