"""The documentation site: notebooks, pages and docstrings, built by Sphinx."""

from importlib.metadata import version as version_of

project = "ecg_jax"
author = "the authors of ecg_jax"
version = release = version_of("ecg_jax")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py", "build", "**.ipynb_checkpoints"]

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
html_show_sourcelink = False
html_copy_source = False
