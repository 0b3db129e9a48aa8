"""Run the server until it is told to stop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn

from vreid_jax.errors import InputError, Terminated
from vreid_jax.serving.app import make_app
from vreid_jax.serving.service import Options, Service


def serve(options: Options, ready: Callable[[str], None]) -> dict[str, int | str]:
    """Open what is to be served, listen, and answer until Ctrl-C.

    Args:
      options: what to serve, and where.
      ready: called with the address once the server listens.

    Returns:
      What was served.

    Raises:
      InputError: as `Service`, and when the address cannot be listened on.
    """
    service = Service(options)
    try:
        opened = listen(options.address.host, options.address.port)
        with opened:
            host, port = opened.getsockname()[:2]
            server = make_server(service)
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
            try:
                server.run([opened])
            except Terminated:
                raise
            except KeyboardInterrupt:  # uvicorn raises it again when it has answered what was asked
                pass
        return {"tracklets": len(service.people()), "audit": str(service.audit.path)}
    finally:
        service.close()


def make_server(service: Service) -> uvicorn.Server:
    """Return the web server of a service; it trusts no header that says where a request came from."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(service),
            log_level="warning",
            access_log=False,  # the audit log says more, and only it
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            limit_concurrency=512,
            h11_max_incomplete_event_size=1 << 16,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; `InputError` when the system refuses."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(socket.socket(family, kind))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(place)
            opened.listen(256)
            stack.pop_all()
            return opened
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or --host"
        ) from error
