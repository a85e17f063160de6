"""`python -m docs.figures [NAME …]`: the pictures and films of the manual, all or those that are named."""

import sys
from collections.abc import Callable
from pathlib import Path

from docs.figures import descents, drawings, films, playbook, stills

Maker = Callable[[], list[Path]]


def pictures() -> dict[str, Maker]:
    """What makes each picture that is committed."""
    plays = {f"play/{name}": stills.maker(name) for name in stills.PLAYS}
    return drawings.DRAWINGS | descents.DRAWINGS | films.DRAWINGS | playbook.DRAWINGS | plays


def main(names: list[str]) -> None:
    """Makes pictures; each says what it wrote."""
    known = pictures()
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"A picture must be one of {', '.join(known)}, got {', '.join(unknown)}")
    for name in names or known:
        for path in known[name]():
            print(f"{path.relative_to(stills.DOCS.parent)}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
