"""What the manual adds to Sphinx: pages to play with, pictures for dark themes, and the reference from docstrings.

Pages stay plain Markdown. A picture in `play/` becomes the page to play with of that name, a picture that has a twin
`NAME-dark.svg` changes with the theme and has the film `films/NAME.json` below it, if there is one, and a comment
`<!-- api: fit -->` becomes the docstring of `sd.fit`.
"""

from typing import Any

from sphinx.application import Sphinx

from docs.extension import access, api, pictures, plays


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("builder-inited", plays.write_pages)
    app.connect("source-read", api.insert_docstrings)
    app.connect("autodoc-process-docstring", api.keep_bars)
    app.connect("doctree-read", pictures.replace_pictures)
    app.connect("html-page-context", access.complete, priority=900)  # after the theme
    app.connect("build-finished", plays.copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
