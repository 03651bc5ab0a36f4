"""Hook of mkdocs (`make docs`): the documents of the repository's root become pages too, README.md the first, and every
decision is in the navigation.

A link from a page to a file that is no page (source, examples) works on the repository's own site only: here its text
is left. host_tests/tools/test_docs.py checks that the file is there.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files  # type: ignore[import-not-found]  # lies in build/docs-venv

ROOT = Path(__file__).resolve().parent.parent
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Add the pages of decisions to the navigation, in the order of their numbers."""
    (develop,) = [entry["Develop"] for entry in config.nav if "Develop" in entry]
    (decisions,) = [entry["Decisions"] for entry in develop if isinstance(entry, dict)]
    decisions += sorted(f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the root's documents."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    of_root = {uri: name for name, uri in ROOT_PAGES.items()}.get(page.file.src_uri)
    source = of_root or posixpath.join("docs", page.file.src_uri)

    def rewrite(match: re.Match[str]) -> str:
        target, hash_sign, anchor = match[3].partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = ROOT_PAGES.get(path) or (path[len("docs/") :] if path.startswith("docs/") else "")
        if not uri:
            return match[2]
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"{match[1]}[{match[2]}]({posixpath.relpath(uri, here)}{hash_sign}{anchor})"

    return _LINK.sub(rewrite, markdown)
