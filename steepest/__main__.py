"""The command line as a module: `python -m steepest`."""

from steepest.cli import app

if __name__ == "__main__":
    app()
