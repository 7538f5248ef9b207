"""Build the documentation site: these pages, a page per method, and the reference, all from this repository.

    python docs/build.py            # writes out/site; open out/site/index.html, no server and no network needed
    python docs/build.py --serve    # the same behind a local address, for the search box

Links that lead nowhere end the build. The pages are gathered in out/pages first: README.md becomes the start page, a
method's page holds its docstring, its settings, and its rows of docs/systems.md.
"""

from __future__ import annotations

import argparse
import ast
import http.server
import inspect
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

from coview import api
from coview.methods import METHODS, PIPELINES, load_method, load_pipeline

ROOT = Path(__file__).resolve().parent.parent
PAGES, SITE = ROOT / "out" / "pages", ROOT / "out" / "site"
FLOORS = ("objectives", "correlation", "encoders", "data", "methods", "training", "evaluation", "search", "media")


def main() -> int:
    """Build, and serve if asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="serve the site on 127.0.0.1:8000 until Ctrl-C")
    arguments = parser.parse_args()
    gather()
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(ROOT / "mkdocs.yml")]
    code = subprocess.run(command, check=False, cwd=ROOT).returncode
    if code == 0 and arguments.serve:
        print("http://127.0.0.1:8000 (Ctrl-C ends it)")
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
        http.server.ThreadingHTTPServer(("127.0.0.1", 8000), handler).serve_forever()
    return code


def gather() -> None:
    """Write out/pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (PAGES / "index.md").write_text(re.sub(r"\]\(docs/", "](", readme.replace("](CHANGELOG.md)", "](changes.md)")))
    shutil.copy(ROOT / "CHANGELOG.md", PAGES / "changes.md")
    (PAGES / "methods").mkdir()
    rows = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8").splitlines()
    for slug in [*METHODS, *PIPELINES]:
        (PAGES / "methods" / f"{slug}.md").write_text(method_page(slug, rows), encoding="utf-8")
    (PAGES / "methods" / "index.md").write_text(method_list(), encoding="utf-8")
    (PAGES / "reference").mkdir()
    for floor in FLOORS:
        (PAGES / "reference" / f"{floor}.md").write_text(reference_page(floor), encoding="utf-8")
    names = "\n\n".join(f"::: coview.api.{name}" for name in sorted(api.__all__))
    (PAGES / "reference" / "index.md").write_text(f"# coview in Python\n\n{names}\n", encoding="utf-8")


def method_page(slug: str, rows: list[str]) -> str:
    """Return the page of a method or pipeline: what it computes, its settings, what is verified, what was measured."""
    verb, kind = ("discover", load_pipeline(slug)) if slug in PIPELINES else ("pretrain", load_method(slug))
    about, module = kind.about, sys.modules[kind.__module__]
    said = [row for row in rows if row.startswith("|") and re.search(rf"`{re.escape(slug)}`|^\| {slug}[ ,|]", row)]
    evidence = "\n".join(f"- {' · '.join(cell.strip() for cell in row.strip('|').split('|'))}" for row in said)
    return (
        f"# {slug}: {about.title}\n\n{about.paper}. Family: {about.family}. State: {about.state}.\n\n"
        f"```sh\ncoview {verb} {slug} --collection my-collection -o my-run\n"
        f"coview {verb} {slug} --help\n```\n\n## What it computes\n\n{described(module)}\n\n"
        f"## Settings\n\n```python\n{inspect.getsource(kind.Settings)}```\n\n"
        f"## Evidence\n\n{evidence or 'None yet.'}\n\nAll systems: [systems](../systems.md).\n"
    )


def described(module: ModuleType) -> str:
    """Return a module's docstring as Markdown; its indented equations are code blocks already."""
    text = inspect.cleandoc(module.__doc__ or "")
    return re.sub(r"`:(?:class|func):", "`", text)


def method_list() -> str:
    """Return the page that lists the methods by family."""
    families: dict[str, list[str]] = {}
    for slug in [*METHODS, *PIPELINES]:
        about = (load_pipeline(slug) if slug in PIPELINES else load_method(slug)).about
        families.setdefault(about.family, []).append(f"- [`{slug}`]({slug}.md): {about.title}")
    parts = [f"## {family}\n\n" + "\n".join(lines) for family, lines in families.items()]
    return "# Methods\n\nStart with `xid`. One file each in `coview/methods/`.\n\n" + "\n\n".join(parts) + "\n"


def reference_page(floor: str) -> str:
    """Return the reference of a floor: every module that has public names."""
    folder = ROOT / "src" / "coview" / floor
    parts = [f"# coview.{floor}"]
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        if any(not node.name.startswith("_") for node in public) and path.name != "__init__.py":
            dotted = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
            parts.append(f"::: {dotted}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
