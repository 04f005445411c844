"""Random faults of upstream and of the server that three gateways share: complete responses must match upstream's history.

`scripts/test-long replicas` checks 20,000 responses of random gateways. Every few seconds the server has a fault: it is stopped,
paused, killed, flushed, demoted or full, or its values are damaged. checks/long/chaos.py describes what is checked.
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import redis_faults
from chaos import FLAGS, PROMISE, Gateways, main
from programs import start_gateway
from redis_server import RedisServer

REPLICAS = 3
FAULTS = (
    *(redis_faults.frozen, redis_faults.restarted_empty, redis_faults.flushed, redis_faults.without_scripts),
    *(redis_faults.paused, redis_faults.demoted, redis_faults.full, redis_faults.evicting, redis_faults.damaged),
)


class Disturbed:
    """A server with one fault after another."""

    def __init__(self, server: RedisServer):
        self.server, self.draw = server, random.Random(5)

    async def disturb(self) -> None:
        while True:
            await asyncio.sleep(self.draw.uniform(0.5, 6))
            await asyncio.to_thread(self.draw.choice(FAULTS), self.server)
            await asyncio.sleep(self.draw.choice((0, 0.1, 0.5, 2, 5)))
            await asyncio.to_thread(redis_faults.mended, self.server)


@contextlib.contextmanager
def three_gateways(directory: Path, upstream_url: str) -> Iterator[Gateways]:
    server, secret = RedisServer(directory), directory / "secret"
    secret.write_text("a" * 40)
    flags = ("--tier-url", server.url, "--tier-secret-file", str(secret), *PROMISE.flags(), *FLAGS)
    try:
        programs = [start_gateway(directory, upstream_url, *flags) for _ in range(REPLICAS)]
        yield Gateways(programs, Disturbed(server).disturb)
    finally:
        server.thaw()
        server.kill()


if __name__ == "__main__":
    sys.exit(main(three_gateways))
