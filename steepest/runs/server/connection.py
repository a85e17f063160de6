"""Connections that end: nobody can hold the server by what they do not send or do not read.

A browser's request is there within milliseconds, and its reader reads. A connection whose request is not complete
within `REQUEST_TIMEOUT_S` is closed, whether nothing comes, a byte at a time, or headers without their body; so is one
whose reader takes nothing for `READER_TIMEOUT_S`. When there are as many connections as file descriptors allow, a new
one takes the place of the oldest one: of those without a request first, then of the streams, which a page opens again
by itself.
"""

import asyncio
import os
import socket
import struct

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from steepest.runs.server.address import BACKLOG

REQUEST_TIMEOUT_S = 8.0
"""From the connection, or the previous response, to the end of a request."""
READER_TIMEOUT_S = 20.0
"""How long a reader may take nothing of what waits for it."""
CHECK_INTERVAL_S, SHUTDOWN_TIMEOUT_S = 1.0, 5.0
MAX_CONNECTIONS, MIN_CONNECTIONS = 512, 8
ACCEPT_COUNT, ACCEPT_ROUNDS = 16, 4
"""Connections that are accepted at once; and how often that happens before the first of them takes the place of an
older one, whose descriptor is then free."""
OTHER_DESCRIPTORS = 48
"""File descriptors for all but connections: 4 readers of the database with 4 files each, the loop, the terminal."""


def connection_limit() -> int:
    """How many connections there may be at once, below this process's limit of file descriptors."""
    try:
        import resource
    except ImportError:  # Windows: sockets are no file descriptors
        return MAX_CONNECTIONS
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, descriptors - ACCEPT_COUNT * ACCEPT_ROUNDS - OTHER_DESCRIPTORS))


class Server(uvicorn.Server):
    """The server; more connections wait for it than it accepts at once, which asyncio takes for one number."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)


class Connection(H11Protocol):
    """A connection of the server, with bounds on the time for which the other end can hold it."""

    limit = MAX_CONNECTIONS
    """How many there may be at once; `connection_limit()` where a server is started."""
    _idle_since, _unsent, _stalled_since = 0.0, 0, 0.0
    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to watch the connection; where there are too many, the oldest one ends."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._check = self.loop.call_later(CHECK_INTERVAL_S, self._check_progress)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops to watch it."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Lets the response end, if somebody reads it."""
        super().shutdown()
        self.loop.call_later(SHUTDOWN_TIMEOUT_S, self.drop)

    def drop(self) -> None:
        """Ends the connection at once, with what the system still has to send on it."""
        stream = self.transport.get_extra_info("socket")
        if stream is not None and stream.fileno() != -1:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self.transport.abort()

    @property
    def _has_request(self) -> bool:
        """Whether a response is on its way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> None:
        others = [c for c in self.connections if isinstance(c, Connection) and not c.transport.is_closing()]
        if len(others) > self.limit:
            oldest = min((c for c in others if c is not self), key=lambda c: (c._has_request, c._idle_since))
            oldest.drop()

    def _check_progress(self) -> None:
        """Closes the connection where the other end owes the rest of a request, or does not read."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._stalled_since = unsent, now
        has_stalled = unsent > 0 and now - self._stalled_since > READER_TIMEOUT_S
        owes_request = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if has_stalled or (owes_request and now - self._idle_since > REQUEST_TIMEOUT_S):
            self.drop()
            return
        self._check = self.loop.call_later(CHECK_INTERVAL_S, self._check_progress)
