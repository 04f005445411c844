"""nginx and Varnish with one body in their caches, each as its manual sets it up."""

import os
import subprocess
from pathlib import Path

import requests
from programs import free_port, wait_until_it_serves

from bench.machine import SERVER_CORE, pinned

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 10000000;
  default_type application/json;
  gzip_comp_level 1;
  gzip_types application/json;
  gzip_proxied any;
  client_body_temp_path {home}/client;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  proxy_cache_path {home}/cache keys_zone=bodies:1m max_size=1g inactive=1d use_temp_path=off;
  server {{
    listen 127.0.0.1:{origin};
    root {home}/bodies;
  }}
  server {{
    listen 127.0.0.1:{port};
    location /plain/ {{
      proxy_cache bodies;
      proxy_cache_valid 200 1d;
      proxy_pass http://127.0.0.1:{origin}/;
    }}
    location /compressing/ {{
      gzip on;
      proxy_cache bodies;
      proxy_cache_valid 200 1d;
      proxy_pass http://127.0.0.1:{origin}/;
    }}
    location /compressed/ {{
      gzip_static on;
      alias {home}/bodies/;
    }}
  }}
}}
"""

VARNISH = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_backend_fetch {{
  set bereq.url = regsub(bereq.url, "^/(plain|compressed)/", "/");
}}
sub vcl_backend_response {{
  set beresp.ttl = 1d;
  set beresp.do_gzip = bereq.http.x-compressed == "yes";
}}
sub vcl_recv {{
  unset req.http.x-compressed;
  if (req.url ~ "^/compressed/") {{ set req.http.x-compressed = "yes"; }}
}}
"""


class Server:
    """A program on the server's core."""

    def __init__(self, command: list, log: Path, url: str):
        self.url, self.log = url, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(pinned(SERVER_CORE, command), stdout=output, stderr=subprocess.STDOUT)

    def fill(self, path: str, length: int, **headers: str) -> None:
        """Waits until the server returns the complete body."""

        def is_whole() -> bool:
            try:
                answer = requests.get(self.url + path, headers=headers, timeout=60)
            except requests.ConnectionError:
                return False
            return answer.status_code == 200 and len(answer.content) == length

        wait_until_it_serves(self.process, is_whole, lambda: f"{path}: {self.log.read_text(errors='replace')}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Caches:
    """nginx and Varnish over an origin with these bodies: for each name, the plain and the compressed bytes."""

    def __init__(self, home: Path, bodies: dict[str, tuple[bytes, bytes]]):
        self.bodies = bodies
        (home / "bodies").mkdir()
        for name, (plain, compressed) in bodies.items():
            (home / "bodies" / name).write_bytes(plain)
            (home / "bodies" / f"{name}.gz").write_bytes(compressed)
        origin, port, varnish_port = free_port(), free_port(), free_port()
        (home / "nginx.conf").write_text(NGINX.format(home=home, origin=origin, port=port))
        (home / "varnish.vcl").write_text(VARNISH.format(origin=origin))
        # The child process of Varnish may run as another user.
        os.chmod(home, 0o755)
        self.nginx = Server(
            ["nginx", "-p", home, "-c", home / "nginx.conf"], home / "nginx.log", f"http://127.0.0.1:{port}"
        )
        varnish = ["varnishd", "-F", "-j", "none", "-n", home / "varnish", "-a", f"127.0.0.1:{varnish_port}"]
        varnish += ["-T", "none", "-f", home / "varnish.vcl", "-s", "default,512m", "-p", "thread_pools=1"]
        self.varnish = Server(varnish, home / "varnish.log", f"http://127.0.0.1:{varnish_port}")

    def fill(self) -> None:
        for name, (plain, _) in self.bodies.items():
            for way in ("plain", "compressing", "compressed"):
                for coding in ("identity", "gzip"):
                    self.nginx.fill(f"/{way}/{name}", len(plain), **{"Accept-Encoding": coding})
            for way in ("plain", "compressed"):
                self.varnish.fill(f"/{way}/{name}", len(plain), **{"Accept-Encoding": "gzip"})

    def stop(self) -> None:
        self.varnish.stop()
        self.nginx.stop()
