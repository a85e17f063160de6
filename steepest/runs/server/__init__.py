"""Runs in a browser: a list of them, one live while it trains, several compared.

    server.py    an address, and the server at it
    door.py      who may come in, and what every answer says to the browser
    app.py       which address shows what
    listing.py   the runs as a list
    look.py      how that looks
    channel.py   a film as it grows, read once for all who watch

Nothing is served but what the store of one folder knows, and nothing is ever written.
"""

from steepest.runs.server.server import serve

__all__ = ["serve"]
