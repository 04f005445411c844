"""Faults of a Redis server."""

from polling import wait_until
from redis_server import RedisServer


def frozen(server: RedisServer) -> None:
    server.freeze()


def restarted_empty(server: RedisServer) -> None:
    server.restart()


def flushed(server: RedisServer) -> None:
    server.tell("FLUSHALL")


def without_scripts(server: RedisServer) -> None:
    server.tell("SCRIPT", "FLUSH")


def paused(server: RedisServer) -> None:
    server.tell("CLIENT", "PAUSE", "3000", "ALL")


def demoted(server: RedisServer) -> None:
    server.tell("REPLICAOF", "127.0.0.1", "1")


def full(server: RedisServer) -> None:
    server.tell("CONFIG", "SET", "maxmemory", "1")


def evicting(server: RedisServer) -> None:
    server.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.tell("CONFIG", "SET", "maxmemory", "1500000")


def damaged(server: RedisServer) -> None:
    server.run(
        """for _, key in ipairs(redis.call('KEYS', 'ff1:*')) do
             if redis.call('TYPE', key)['ok'] == 'string' then redis.call('SETRANGE', key, 40, 'damaged') else
               for _, field in ipairs(redis.call('HKEYS', key)) do
                 local value = redis.call('HGET', key, field)
                 if #value > 60 then redis.call('HSET', key, field, string.sub(value, 1, 40) .. 'damaged' .. string.sub(value, 48)) end
               end
             end
           end"""
    )


def mended(server: RedisServer) -> None:
    """Ends all faults."""
    server.thaw()
    wait_until(server.pings)
    server.tell("REPLICAOF", "NO", "ONE")
    server.tell("CONFIG", "SET", "maxmemory", "0")
