"""What MkDocs does beside the pages of this folder: README.md is the first one, and links out of the site are words."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
AT_THE_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SKILL.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Documents at the root of the repository as pages beside the others."""
    for name in AT_THE_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        place = "index.md" if name == "README.md" else name
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page whose links lead to pages: those to files of the repository are left as what they say."""

    def kept(link: re.Match[str]) -> str:
        told, target = link.groups()
        name = target.removeprefix("../").partition("#")[0]
        if target.startswith("https://") or files.get_file_from_path(name):
            return f"[{told}]({target.removeprefix('../')})"
        return told if (ROOT / name).exists() else link[0]

    return re.sub(r"\[([^\]\n]+)\]\(([^)\s]+)\)", kept, markdown)
