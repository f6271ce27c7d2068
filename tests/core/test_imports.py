"""What importing costs, and which packages core may import at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "core" / "stanchion").rglob("*.py"))
ALLOWED = {"stanchion", "attrs", "msgspec", "pluggy", *sys.stdlib_module_names}
ELSEWHERE = {"cli": {"click", "rich"}, "testing": {"pytest", "hypothesis", "stanchion_memory"}}


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_importing_stanchion_imports_little():
    """A producer in a small program pays for nothing it does not use."""
    heavy = python(
        "import sys, stanchion;"
        "print({'asyncio', 'click', 'redis', 'rich', 'stanchion_memory', 'stanchion_redis'} & {*sys.modules})"
    )

    assert heavy == "set()"


def test_an_application_imports_only_its_own_backend():
    """And no plugin that is not listed."""
    others = python(
        "import sys, stanchion; stanchion.Stanchion('memory://');"
        "print({'redis', 'stanchion_redis', 'stanchion_stats'} & {*sys.modules})"
    )

    assert others == "set()"


def test_enqueuing_needs_no_event_loop():
    """Asyncio is imported by those who use it."""
    loops = python(
        "import sys, stanchion; app = stanchion.Stanchion('memory://');"
        "app.task(name='nothing')(lambda: None).enqueue();"
        "print('asyncio' in sys.modules)"
    )

    assert loops == "False"


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(ROOT)))
def test_core_imports_the_standard_library_and_three_packages(file):
    """A driver belongs to its backend; the command line and the test kit have one or two packages of their own."""
    room = file.relative_to(ROOT / "core" / "stanchion").parts[0]
    imported = {name.partition(".")[0] for name in imports(file)}

    assert imported <= ALLOWED | ELSEWHERE.get(room, set())


def imports(file):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
