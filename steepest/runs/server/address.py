"""Addresses and sockets of the server."""

import ipaddress
import socket
from urllib.parse import quote

from steepest.errors import InputError

HOST, PORT = "127.0.0.1", 7878
BACKLOG, LAST_PORT = 128, 65535


def parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A numeric address; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    ip = parse_ip(host)
    return host == "localhost" if ip is None else ip.is_loopback


def is_everywhere(host: str) -> bool:
    """Whether an address stands for all addresses of this machine."""
    ip = parse_ip(host)
    return ip is not None and ip.is_unspecified


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; connections wait until the server answers.

    Raises:
        InputError: it cannot listen there.
    """
    try:
        if not 0 <= port <= LAST_PORT:
            raise OSError(f"ports are 0 to {LAST_PORT}")
        family, *_, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(at[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise InputError(
            f"Cannot listen on {host}:{port} ({why}). Use another --port (0 picks a free one); --host must be an "
            "address of this machine."
        ) from None


def address(listener: socket.socket, host: str, token: str | None = None, path: str = "/") -> str:
    """The address to open in a browser; the machine's name if the server listens at all addresses."""
    name = socket.gethostname() if is_everywhere(host) else f"[{host}]" if ":" in host else host
    query = "" if token is None else f"?token={quote(token, safe='')}"
    return f"http://{name}:{listener.getsockname()[1]}{path}{query}"
