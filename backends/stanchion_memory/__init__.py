"""The memory backend of Stanchion: `memory://`, for tests and for work that may be lost with its process."""

from stanchion.contract.backend import Clock
from stanchion.contract.opening import redacted
from stanchion.errors import ConfigError
from stanchion_memory.backend import MemoryBackend

__all__ = ["MemoryBackend", "open"]


def open(url: str, *, namespace: str, clock: Clock | None = None) -> MemoryBackend:
    """Open a new, empty store; each call has one of its own.

    Returns:
        The backend.

    Raises:
        ConfigError: The URL says more than `memory://`.
    """
    if url != "memory://":
        raise ConfigError(
            f"a memory backend's URL is memory://, not {redacted(url)!r}; each application has its own store"
        )
    return MemoryBackend(clock=clock)
