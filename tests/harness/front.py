"""nginx and HAProxy of Debian in front of a gateway, each with a configuration of its own on a free port."""

import contextlib
import shutil
import socket
import subprocess

from harness.gateway import free_ports, wait_for

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{target};
            {lines}
        }}
    }}
}}
"""
UPGRADE = """
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client {quiet}
    timeout server {quiet}
    timeout tunnel {quiet}
frontend front
    bind 127.0.0.1:{port}
    default_backend gateway
backend gateway
    server one 127.0.0.1:{target}
"""


@contextlib.contextmanager
def running(command, port, folder):
    with (folder / "front.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: accepts(port), 10, "the proxy to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def program(name):
    return shutil.which(name) or f"/usr/sbin/{name}"


@contextlib.contextmanager
def nginx(target, folder, *lines, upgrade=True):
    """Passes everything on to the port; `lines` stand in its location. Yields the URL of its base."""
    (port,) = free_ports(1)
    text = " ".join([UPGRADE if upgrade else "", *lines])
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, target=target, lines=text))
    with running([program("nginx"), "-p", str(folder), "-c", str(config)], port, folder) as url:
        yield url


@contextlib.contextmanager
def haproxy(target, folder, quiet="60s"):
    """The same; `quiet`: how long a connection may be."""
    (port,) = free_ports(1)
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, target=target, quiet=quiet))
    with running([program("haproxy"), "-db", "-f", str(config)], port, folder) as url:
        yield url
