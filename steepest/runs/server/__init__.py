"""`steepest serve`: runs in a browser, as a list, one live while it trains, or several compared.

    server.py     the server
    address.py    addresses and sockets
    connection.py connections, which nobody can hold
    access.py     access control, and headers of every response
    app.py        routes and pages
    run_list.py   the list of runs
    style.py      frame and style of the server's own pages
    stream.py     a growing film, read once for all viewers

It serves only the runs of one folder, and never writes.
"""

from steepest.runs.server.server import serve

__all__ = ["serve"]
