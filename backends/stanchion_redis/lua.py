"""The scripts, each behind those parts of `scripts/shared.lua` that it uses."""

import hashlib
import re
from importlib.resources import files
from typing import Final

_NAMES: Final = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)


def _used(parts: list[str], text: str) -> str:
    """The parts that a text needs, in their order; a function that is not called costs each call its making."""
    chosen: set[int] = set()
    wanted = set(re.findall(r"\w+", text))
    for number in range(len(parts) - 1, -1, -1):  # each part uses only what stands before it
        names = {name for found in _NAMES.findall(parts[number]) for name in found.split(", ")}
        if names & wanted:
            chosen.add(number)
            wanted |= set(re.findall(r"\w+", parts[number]))
    return "\n\n".join(parts[number] for number in sorted(chosen))


def _load() -> dict[str, tuple[str, str]]:
    folder = files("stanchion_redis") / "scripts"
    texts = {file.name: file.read_text() for file in folder.iterdir() if file.name.endswith(".lua")}
    parts = texts.pop("shared.lua").split("\n\n")
    whole = {name: f"{_used(parts, text)}\n\n{text}" for name, text in texts.items()}
    return {
        name.removesuffix(".lua"): (text, hashlib.sha1(text.encode()).hexdigest())
        for name, text in whole.items()
    }


SCRIPTS: Final = _load()
"""The scripts by name: their text and the SHA-1 the server knows them by."""
