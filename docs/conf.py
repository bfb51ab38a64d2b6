"""How `make docs` builds the site: Sphinx reads the Markdown pages as they are, without any network."""

project = "rkllm_rs"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "rkllm_rs"
# Every heading gets GitHub's anchor, so that one link serves there and here.
myst_heading_anchors = 4
# Blocks in languages that Pygments colours only in part are text as any other.
suppress_warnings = ["misc.highlighting_failure"]
