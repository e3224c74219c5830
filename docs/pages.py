"""What MkDocs does beside the pages of this folder: README.md is the first one, and links out of the site are words.

A link to a notebook of examples/ leads to its page.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parent.parent
AT_THE_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SKILL.md")
STYLES = {"code-light.css": "default", "code-dark.css": "github-dark"}
"""How code is coloured, by the names of styles of Pygments."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Documents at the root of the repository as pages beside the others; colours of code."""
    for name, style in STYLES.items():
        colours = HtmlFormatter(style=style, nobackground=True).get_style_defs(".codehilite")
        files.append(File.generated(config, name, content=colours))
    for name in AT_THE_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        place = "index.md" if name == "README.md" else name
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page whose links lead to pages: those to files of the repository are left as what they say."""

    def kept(link: re.Match[str]) -> str:
        told, target = link.groups()
        inside, hash_sign, anchor = target.removeprefix("../").partition("#")
        there = (ROOT / inside).exists()
        if inside.startswith("examples/") and inside.endswith(".ipynb"):
            inside = f"{Path(inside).stem}.md"
        if target.startswith("https://") or files.get_file_from_path(inside):
            return f"[{told}]({inside}{hash_sign}{anchor})"
        return told if there else link[0]

    return re.sub(r"\[([^\]\n]+)\]\(([^)\s]+)\)", kept, markdown)
