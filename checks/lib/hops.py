"""Runs common proxies in common configurations between a client and the gateway, on free ports."""

import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from programs import clean_environment, free_port, wait_until_it_serves
from tools import find, tool

START_SECONDS = 30


@dataclass
class Hop:
    """A running proxy, and its URLs for HTTP/1.1 and HTTP/2."""

    process: subprocess.Popen
    http1: str
    http2: str

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx_below(directory: Path, gateway: str, prefix: str) -> Hop:
    """nginx that serves the gateway below a path prefix."""
    return nginx(directory, gateway, "", path=prefix, target="/")


def nginx(
    directory: Path, gateway: str, location: str, more: str = "", path: str = "/", target: str = ""
) -> Hop:
    one, two = free_port(), free_port()
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{name}_temp_path {directory}/{name};" for name in folders)
    config = directory / "nginx.conf"
    config.write_text(
        f"""{"user root; " if os.getuid() == 0 else ""}daemon off; pid {directory}/pid; error_log {directory}/errors.log; worker_processes 1;
        events {{}}
        http {{
          access_log off; {temporary} {more}
          server {{ listen 127.0.0.1:{one}; listen 127.0.0.1:{two} http2;
                    location {path} {{ proxy_pass http://{gateway}{target}; {location} }} }}
        }}"""
    )
    return start(directory, [tool("nginx"), "-e", f"{directory}/errors.log", "-c", str(config)], one, two)


def haproxy(directory: Path, gateway: str, server: str = "") -> Hop:
    one, two = free_port(), free_port()
    config = directory / "haproxy.cfg"
    config.write_text(
        f"""defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{one}
  bind 127.0.0.1:{two} proto h2
  default_backend gateway
backend gateway
  server gateway {gateway} {server}
"""
    )
    return start(directory, [tool("haproxy"), "-f", str(config)], one, two)


def varnish(directory: Path, gateway: str) -> Hop:
    port = free_port()
    # Varnish must own its folder.
    home = directory / "varnish"
    command = [tool("varnishd"), "-F", "-a", f"127.0.0.1:{port}", "-b", gateway, "-n", str(home)]
    return start(directory, [*command, "-s", "malloc,32m", "-p", "feature=+http2"], port, port)


def envoy(directory: Path, gateway: str, upstream: str = "http_protocol_options") -> Hop:
    port = free_port()
    host, gateway_port = gateway.split(":")
    config = directory / "envoy.yaml"
    types = "type.googleapis.com/envoy.extensions"
    config.write_text(
        f"""static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: AUTO
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: gateway, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {types}.filters.http.router.v3.Router}}
  clusters:
  - name: gateway
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {types}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{upstream}: {{}}}}
    load_assignment:
      cluster_name: gateway
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {gateway_port}}}}}}}}}]}}]
"""
    )
    command = [tool("envoy"), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
    return start(directory, command, port, port)


# How to start each proxy in front of a gateway, by name.
HOPS: dict[str, Callable[[Path, str], Hop]] = {
    # Until 1.29.7 nginx speaks HTTP/1.0 to upstreams by default.
    "nginx": lambda directory, gateway: nginx(directory, gateway, ""),
    "nginx-http-1.1": lambda directory, gateway: nginx(directory, gateway, "proxy_http_version 1.1;"),
    "nginx-unbuffered": lambda directory, gateway: nginx(
        directory, gateway, "proxy_http_version 1.1; proxy_buffering off;"
    ),
    "nginx-cache": lambda directory, gateway: nginx(
        directory,
        gateway,
        "proxy_http_version 1.1; proxy_cache all; proxy_cache_key $uri$is_args$args;",
        f"proxy_cache_path {directory}/cache keys_zone=all:1m;",
    ),
    "haproxy": haproxy,
    "haproxy-h2": lambda directory, gateway: haproxy(directory, gateway, "proto h2"),
    "varnish": varnish,
    "envoy": envoy,
    "envoy-h2": lambda directory, gateway: envoy(directory, gateway, "http2_protocol_options"),
}
PROGRAMS = {"nginx": "nginx", "haproxy": "haproxy", "varnish": "varnishd", "envoy": "envoy"}


def program_of(hop: str) -> str | None:
    """The path of a hop's program; None if it is not on this machine."""
    return find(PROGRAMS[hop.split("-")[0]])


def start(directory: Path, command: list[str], http1: int, http2: int) -> Hop:
    log = directory / "hop.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=clean_environment(), stdout=output, stderr=subprocess.STDOUT)
    wait_until_it_serves(process, lambda: listens(http1), lambda: log.read_text(errors="replace")[-2000:])
    return Hop(process, f"http://127.0.0.1:{http1}", f"http://127.0.0.1:{http2}")


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
