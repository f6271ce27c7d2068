"""The scripts, each behind the constants and those parts of `scripts/shared` that it uses."""

import hashlib
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from stanchion.model.changes import HISTORY, LIST_BYTES, LIST_LENGTH
from stanchion.model.ids import LONGEST_KEY
from stanchion.model.ledger import HOURS, MINUTES, NAMES
from stanchion.model.states import FINAL, GONE, SWEPT, WAITING, Event, State
from stanchion.model.values import HIGHEST_PRIORITY
from stanchion_redis.assembly import Part, assembled, parts_of
from stanchion_redis.wire import BAND, FOREVER, INLINE, to_minutes

SHARED: Final = ("values", "records", "books", "damage", "wakes")
"""The files of `scripts/shared`, in the order in which they build on one another."""


def _array(texts: Iterable[str]) -> str:
    return "{" + ", ".join(f'"{text}"' for text in texts) + "}"


def _set(texts: Iterable[str]) -> str:
    return "{" + ", ".join(f"{text} = true" for text in texts) + "}"


def _row(state: State | None, event: Event, to: State | None, end: State) -> str:
    """Return what the names of rows have in common that differ in one state alone."""
    name = NAMES[state, event, to]
    return f'"{name.removeprefix(end) if state is end else name.removesuffix(end)}"'


CONSTANTS: Final = {
    "FOREVER": str(FOREVER),
    "BAND": str(BAND),
    "HIGHEST": str(HIGHEST_PRIORITY),
    "INLINE": str(INLINE),
    "KEY_BYTES": str(LONGEST_KEY),
    "LIST_LENGTH": str(LIST_LENGTH),
    "LIST_BYTES": str(LIST_BYTES),
    "HISTORY": f'"{HISTORY}"',
    "MINUTES": str(to_minutes(MINUTES)),
    "HOURS": str(to_minutes(HOURS)),
    "STATES": _array(State),
    "SWEPT": _array(SWEPT),
    "WAITING": _array(WAITING),
    "IS_STATE": _set(State),
    "IS_FINAL": _set(sorted(FINAL)),
    "IS_WAITING": _set(WAITING),
    "CLAIMED": f'"{NAMES[State.QUEUED, Event.CLAIM, State.RUNNING]}"',
    "CLAIMED_MS": f'"{NAMES[State.QUEUED, Event.CLAIM, State.RUNNING]}.ms"',
    "ENQUEUED": _row(GONE, Event.ENQUEUE, State.QUEUED, State.QUEUED),
    "PROMOTED": _row(State.SCHEDULED, Event.PROMOTE, State.QUEUED, State.SCHEDULED),
    "QUARANTINED": _row(State.QUEUED, Event.QUARANTINE, GONE, State.QUEUED),
    "RESTORED": _row(GONE, Event.RESTORE, State.QUEUED, State.QUEUED),
}
"""What the scripts know of core: each constant as it is written in Lua."""


def _texts(folder: Traversable) -> dict[str, str]:
    found = {file.name: file.read_text() for file in folder.iterdir() if file.name.endswith(".lua")}
    return {name.removesuffix(".lua"): text for name, text in found.items()}


def _load() -> dict[str, tuple[str, str]]:
    folder = files("stanchion_redis") / "scripts"
    shared = _texts(folder / "shared")
    front = [Part.constant(name, value) for name, value in CONSTANTS.items()]
    front += [part for name in SHARED for part in parts_of(shared[name], is_shared=True)]
    scripts = {
        name: assembled([*front, *parts_of(text, is_shared=False)]) for name, text in _texts(folder).items()
    }
    return {name: (text, hashlib.sha1(text.encode()).hexdigest()) for name, text in scripts.items()}


SCRIPTS: Final = _load()
"""The scripts by name: their text and the SHA-1 the server knows them by."""
