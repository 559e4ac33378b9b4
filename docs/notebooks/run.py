"""Runs a notebook's code cells and saves what they show, without Jupyter.

Here: cells one after the other in one namespace, and the outputs in Jupyter's own format. Not here:
what is shown (the notebooks).

    eval "$(.venv/bin/wrdata env)"
    .venv/bin/python docs/notebooks/run.py docs/notebooks/candlesticks_and_coverage.ipynb

So the project needs no kernel to keep a notebook's pictures true, nor to test its cells.
"""

import ast
import contextlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMS = {"image/svg+xml": "_repr_svg_", "text/html": "_repr_html_", "text/plain": "__repr__"}
"""How a value shows itself, by the kind of what it returns."""
SILENT = (None, object.__repr__)


def run(notebook: Mapping[str, Any]) -> None:
    """Run every code cell and put its output into it.

    Raises:
        Exception: Whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = _value("".join(cell["source"]), names)
        cell["execution_count"] = number
        cell["outputs"] = _printed(printed.getvalue()) + _shown(value, number)


def _value(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last line, if that is an expression."""
    lines = ast.parse(source).body
    last = lines.pop() if lines and isinstance(lines[-1], ast.Expr) else None
    exec(compile(ast.Module(lines, []), "cell", "exec"), names)  # noqa: S102
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307


def _printed(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text}] if text else []


def _shown(value: Any, number: int) -> list[dict[str, Any]]:
    if value is None:
        return []
    # What has no words of its own would show its place in memory, another one each time.
    kinds = [kind for kind, form in FORMS.items() if getattr(type(value), form, None) not in SILENT]
    data = {kind: getattr(value, FORMS[kind])() for kind in kinds}
    return [
        {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}
    ]


def main() -> None:
    """Run the notebooks that are named and save them."""
    for name in sys.argv[1:]:
        path = Path(name)
        notebook = json.loads(path.read_text("utf-8"))
        run(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"{name}: {len(notebook['cells'])} cells")


if __name__ == "__main__":
    main()
