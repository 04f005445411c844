"""The loop of upstream's guide: page after page while there is more. `python -m bench.serial URL KEY`."""

import sys
import time

import requests


def main() -> None:
    url, key = sys.argv[1:]
    began = time.perf_counter()
    rows, number = [], 1
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        while True:
            answer = session.get(url, params={"page_number": number}, timeout=30)
            answer.raise_for_status()
            page = answer.json()
            rows += page["data"]
            if not page["has_more"]:
                break
            number += 1
    print(time.perf_counter() - began, len(rows))


if __name__ == "__main__":
    main()
