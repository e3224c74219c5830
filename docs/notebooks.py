"""Notebooks of examples/ as pages of the site, with the outputs that they keep; run as a program, it renews those.

`python docs/notebooks.py FILE...` executes each in an empty folder and writes its outputs into it. A page is made of
what the file holds, and executes nothing.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOTEBOOKS = tuple(sorted((ROOT / "examples").glob("*.ipynb")))
SECONDS = 300


def on_files(files: Any, config: Any) -> Any:
    """Every notebook as a page of its name, and as the file itself, to be taken along."""
    from mkdocs.structure.files import File

    for path in NOTEBOOKS:
        files.append(File.generated(config, f"{path.stem}.md", content=page(path)))
        files.append(File.generated(config, path.name, abs_src_path=str(path)))
    return files


def page(path: Path) -> str:
    """A notebook as Markdown; what its cells gave stands in boxes below them."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    taken = f"[`{path.name}`]({path.name}) is this page as a notebook."
    return "\n\n".join([*(part for cell in cells for part in _parts(cell)), taken]) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        shown = "".join(output.get("data", {}).get("text/html", ""))
        text = "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
        # Without empty lines, at which a Markdown parser may take the rest for text.
        shown = re.sub(r"\n\s*\n", "\n", shown).strip() or f"<pre>{escape(text.rstrip())}</pre>"
        yield f'<div class="output">\n{shown}\n</div>'


def executed(path: Path) -> Any:
    """The notebook with the outputs of this tree, and nothing in it that another execution would give otherwise."""
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets, tempfile.TemporaryDirectory() as folder:
        # Through files: nothing listens at a port.
        transport = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, resources=place, config=transport).execute()
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            # Plain text beside a page of its own is for terminals.
            if "text/html" in output.get("data", {}):
                del output["data"]["text/plain"]
    return notebook


if __name__ == "__main__":
    import nbformat

    for name in sys.argv[1:]:
        nbformat.write(executed(Path(name)), name)
