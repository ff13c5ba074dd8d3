"""The site: `python start.py docs` builds it into docs/_build/html. Nothing is fetched, now or by a browser later."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "gpax_lab"
author = "The gpax_lab developers"
copyright = author
release = version = version_of("gpax-lab")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "reference",
    "tutorials",
    "mathml",
    "links",
]
exclude_patterns = ["_build", "_ext", "_outputs"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks/execute.py runs them; the extension `tutorials` brings their outputs
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has them
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
nitpicky = True

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"gpax_lab {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
