"""What MkDocs asks while it builds the site (mkdocs.yml names this file).

Here: pages that are no file below docs/ (the reference, the pages at the repository's root, the
notebook), and links between all of them. Not here: what the reference says (reference.py).
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any, cast

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[2]
AT_THE_ROOT = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Where the site shows files of the repository's root."""
NOTEBOOK = "notebooks/candlesticks_and_coverage.ipynb"
_Section = dict[str, list[dict[str, object] | str]]
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions in the navigation, in order."""
    pages = sorted(Path(config.docs_dir, "decisions").glob("[0-9]*.md"))
    decisions = ["decisions/README.md", *(f"decisions/{page.name}" for page in pages)]
    for section in cast("list[_Section]", config["nav"] or []):
        for entry in section.get("Explanation", []):
            if isinstance(entry, dict) and "Decisions" in entry:
                entry["Decisions"] = decisions
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no file below docs/."""
    for name, page in AT_THE_ROOT.items():
        files.append(File.generated(config, page, content=(PROJECT / name).read_text("utf-8")))
    for page, write in reference.PAGES.items():
        files.append(File.generated(config, page, content=write()))
    notebook = json.loads(Path(config.docs_dir, NOTEBOOK).read_text("utf-8"))
    page = NOTEBOOK.replace(".ipynb", ".md")
    files.append(File.generated(config, page, content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links lead to pages of the site; those that lead to other files lose the link."""
    place = place_in_repository(page.file.src_uri)

    def on_site(link: re.Match[str]) -> str:
        target = target_on_site(link[2], place, page.file.src_uri)
        return link[1] if target is None else f"[{link[1]}]({target})"

    return _LINK.sub(on_site, markdown)


def place_in_repository(page: str) -> str:
    """Return which file of the repository a page of the site is."""
    at_the_root = {page: name for name, page in AT_THE_ROOT.items()}
    return at_the_root.get(page, f"docs/{page}")


def target_on_site(link: str, place: str, page: str) -> str | None:
    """Return where a relative link of a file leads on the site; None if the site lacks the file.

    Args:
        link: As it is written in the repository.
        place: The file that holds it, from the repository's root.
        page: Where the site shows that file.
    """
    path, hash_sign, anchor = link.partition("#")
    if not path or ":" in path or place.startswith("docs/reference/"):
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
    shown = AT_THE_ROOT.get(target) or target.removeprefix("docs/").replace(".ipynb", ".md")
    if shown == target:
        return None
    relative = posixpath.relpath(shown, posixpath.dirname(page) or ".")
    return relative + hash_sign + anchor


def notebook_page(notebook: dict[str, Any]) -> str:
    """Return a notebook as a page: its words, its code, and the tables and pictures it showed."""
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            shown = output.get("data", {})
            text = shown.get("image/svg+xml") or shown.get("text/html")
            if text:
                drawn = re.sub(r"<style scoped>.*?</style>", "", "".join(text), flags=re.DOTALL)
                in_one_line = re.sub(r"\n\s*", "", drawn)
                parts.append(f'<div class="output">{in_one_line}</div>')
    return "\n\n".join(parts)
