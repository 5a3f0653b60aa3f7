"""The documentation site, built by Sphinx: notebooks, pages, READMEs, docstrings.

sphinx-build -c notebooks . build/docs     from the root of the repository
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "ecg_jax"
author = "the authors of ecg_jax"
version = release = version_of("ecg_jax")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "notebooks/index"
include_patterns = [
    "notebooks/*.md",
    "notebooks/[0-9]*",
    "ecg_jax/**.md",
    "experiments/**.md",
    "CONTRIBUTING.md",
]

# A notebook that has its outputs, as CI's have, is not run again.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "auto"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = "ecg_jax"
html_theme_options = {"navbar_center": [], "show_prev_next": True}
html_sidebars = {"**": ["globaltoc.html"]}
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False


def link_run_notebooks(app, docname, source):
    """Links to notebooks lead to the `.ipynb` where these have been run."""
    if list(Path(app.srcdir).glob("notebooks/[0-9]*.ipynb")):
        source[0] = re.sub(r"\]\((\w+)\.py\)", r"](\1.ipynb)", source[0])


def draw_formula(translator, node):
    """A formula as MathML, which browsers draw without a script or a network."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app):
    """Connects what is above."""
    app.add_html_math_renderer("mathml", (draw_formula, None), (draw_formula, None))
    app.connect("source-read", link_run_notebooks)
