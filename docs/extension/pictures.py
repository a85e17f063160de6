"""Pictures of plain Markdown on the site: pages to play with, twins for the dark theme, and films of what they show."""

from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from docs.extension.plays import pages

PLAY_FOLDER = "play"


def replace_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Puts pages to play with, and pairs of pictures for both themes, in the place of pictures."""
    up = "../" * app.env.docname.count("/")
    for image in list(doctree.findall(nodes.image)):
        path = Path(image["uri"])
        if path.parent.name == PLAY_FOLDER and path.stem in pages():
            image.parent.replace(image, nodes.raw("", frame(path.stem, image.get("alt", ""), up), format="html"))
        elif (app.srcdir / (twin := str(path.with_name(f"{path.stem}-dark{path.suffix}")))).exists():
            image["classes"].append("only-light")
            other = image.deepcopy()
            other["classes"] = ["only-dark"]
            other["uri"], other["candidates"] = twin, {"*": twin}
            app.env.images.add_file(app.env.docname, twin)
            app.env.note_dependency(app.srcdir / twin)
            image.parent.insert(image.parent.index(image) + 1, other)
            if path.stem in pages():
                add_film(image.parent, path.stem, image.get("alt", ""), up)


def add_film(picture: nodes.Element, name: str, alt: str, up: str) -> None:
    """Puts the film of what a picture shows below its caption, folded."""
    text, at = picture.parent, f"{up}{PLAY_FOLDER}/{name}.html"
    title = escape(f"The film of one of these runs: {alt}")
    film = (
        '<details class="film"><summary>Play the film</summary>'
        f'<iframe class="play" src="{at}" title="{title}" loading="lazy"></iframe>'
        f'<p><a href="{at}">The film in a page of its own</a></p></details>'
    )
    text.insert(text.index(picture) + 2, nodes.raw("", film, format="html"))


def frame(name: str, alt: str, up: str) -> str:
    """A page to play with as an element of the text.

    Args:
        name: of the page.
        alt: what it shows.
        up: from the page of the text to the top of the manual.
    """
    at = f"{up}{PLAY_FOLDER}/{name}"
    return (
        f'<iframe class="play" src="{at}.html" title="{escape(alt)}" loading="lazy"></iframe>'
        f'<noscript><img src="{at}.png" alt="{escape(alt)}"></noscript>'
    )
