"""Holds the size ceilings, and that the generic root names are ours."""

import ast
import importlib
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("flows", "tasks", "storage")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MOST_FILE_LINES = 300
MOST_FUNCTION_LINES = 60
MOST_MEDIAN_BODY = 8
MOST_NINTH_DECILE_BODY = 36
EXCEPTIONS: frozenset[str] = frozenset()  # names of files that may be longer; only ever shrinks


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring not counted."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def all_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return function.end_lineno - function.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(path):
    if str(path.relative_to(ROOT)) in EXCEPTIONS:
        pytest.skip("a listed exception")
    assert len(path.read_text().splitlines()) <= MOST_FILE_LINES
    long = {one.name: all_lines(one) for one in functions(path) if all_lines(one) > MOST_FUNCTION_LINES}
    assert not long


def test_most_functions_are_short():
    bodies = sorted(body_lines(one) for path in FILES for one in functions(path))
    assert len(bodies) > 100
    assert statistics.median(bodies) <= MOST_MEDIAN_BODY
    assert bodies[int(0.9 * len(bodies))] <= MOST_NINTH_DECILE_BODY


@pytest.mark.parametrize("room", ROOMS)
def test_the_generic_root_names_are_this_repository(room):
    found = Path(importlib.import_module(room).__file__).resolve()
    assert found.parent == ROOT / room


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in FILES}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_no_relative_import():
    for path in FILES:
        tree = ast.parse(path.read_text())
        relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
        assert not relative, path


def test_what_workers_import_is_light():
    """Prefect takes two seconds of each worker's start, torch two and half a GiB."""
    imports = "from tasks import cells, copying, cutting, label_steps, looking, parts"
    asked = f"import sys\n{imports}\nprint({{'prefect', 'torch'}} & sys.modules.keys())"
    found = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"
