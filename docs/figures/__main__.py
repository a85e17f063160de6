"""`python -m docs.figures [NAME …]`: the pictures of the manual, all or those that are named."""

import sys

from docs.figures import descents, drawings, films, stills


def main(names: list[str]) -> None:
    """Makes pictures; each says what it wrote."""
    makers = (
        drawings.DRAWINGS
        | descents.DRAWINGS
        | films.DRAWINGS
        | {f"play/{name}": stills.maker(name) for name in stills.PLAYS}
    )
    unknown = [name for name in names if name not in makers]
    if unknown:
        sys.exit(f"A picture must be one of {', '.join(makers)}, got {', '.join(unknown)}")
    for name in names or makers:
        for path in makers[name]():
            print(f"{path.relative_to(stills.DOCS)}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
