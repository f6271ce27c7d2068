"""Workers: what claims jobs, runs their handlers and settles their outcomes."""

from stanchion.worker.worker import Worker

__all__ = ["Worker"]
