"""The usual script: page 1, then the other pages concurrently behind a semaphore. `python -m bench.gather URL KEY IN_FLIGHT`."""

import asyncio
import math
import sys
import time

import aiohttp


async def read_all(url: str, key: str, in_flight: int) -> list[dict]:
    semaphore = asyncio.Semaphore(in_flight)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:

        async def page(number: int) -> dict:
            async with semaphore, session.get(f"{url}&page_number={number}") as answer:
                answer.raise_for_status()
                return await answer.json()

        first = await page(1)
        numbers = range(2, math.ceil(first["total"] / 50) + 1)
        others = await asyncio.gather(*map(page, numbers))
        return [row for one in (first, *others) for row in one["data"]]


def main() -> None:
    url, key, in_flight = sys.argv[1:]
    began = time.perf_counter()
    rows = asyncio.run(read_all(url, key, int(in_flight)))
    print(time.perf_counter() - began, len(rows))


if __name__ == "__main__":
    main()
