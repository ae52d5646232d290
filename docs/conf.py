"""Settings of Sphinx; `make docs` builds the manual, `make check` without a single warning."""

from __future__ import annotations

import holdfast

project = "Holdfast"
author = "the Holdfast developers"
copyright = author
version = release = holdfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Holdfast {release}"

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# What a class holds is described in its own docstring; a second entry would only repeat it.
napoleon_use_ivar = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
