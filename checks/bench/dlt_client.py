"""dlt's REST client with its paginator for numbered pages. `python -m bench.dlt_client URL KEY`."""

import sys
import time
from urllib.parse import parse_qsl, urlsplit

from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator


def main() -> None:
    url, key = sys.argv[1:]
    parts = urlsplit(url)
    began = time.perf_counter()
    client = RESTClient(
        base_url=f"{parts.scheme}://{parts.netloc}",
        auth=BearerTokenAuth(key),
        paginator=PageNumberPaginator(base_page=1, page_param="page_number", total_path=None, has_more_path="has_more"),
        data_selector="data",
    )
    rows = [row for page in client.paginate(parts.path, params=dict(parse_qsl(parts.query))) for row in page]
    print(time.perf_counter() - began, len(rows))


if __name__ == "__main__":
    main()
