"""Sphinx's configuration of the manual: `make docs` builds `docs/` into `build/docs`, without a network."""

from importlib.metadata import version as installed_version
from importlib.util import find_spec

if absent := [name for name in ("furo", "myst_parser", "steepest") if find_spec(name) is None]:
    raise SystemExit(
        f"The manual needs {', '.join(absent)}. Run `make docs`, which installs them, or pip install '.[docs]'."
    )

project = "Steepest"
author = "The Steepest developers"
copyright = "The Steepest developers, Apache-2.0"
version = release = installed_version("steepest")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docs.extension"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["extension", "figures"]
default_role = "code"
nitpicky = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
trim_doctest_flags = True
toc_object_entries = False
highlight_language = "text"
smartquotes = False

html_theme = "furo"
html_title = "Steepest"
html_static_path = ["_static"]
html_extra_path = ["llms.txt"]
html_css_files = ["manual.css"]
html_js_files = ["manual.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_search_summary = False  # it would have to read other files, which a page from a file may not
html_theme_options = {"sidebar_hide_name": False}
pygments_style = "docs.extension.code.LightCode"
pygments_dark_style = "docs.extension.code.DarkCode"
