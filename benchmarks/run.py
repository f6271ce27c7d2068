"""Measure Stanchion beside a frozen floor, on one server, in turn. See README.md for what the figures mean."""

import argparse
import platform
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import redis
from figures import Figure, as_json, show
from finding import finding, sqlite_finding
from measures import MEASURES as REDIS_MEASURES
from rounds import Setting
from server import serving
from sqlite_measures import SQLITE_MEASURES

MEASURES = {**REDIS_MEASURES, "finding": finding, **SQLITE_MEASURES, "sqlite-finding": sqlite_finding}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    options = _options().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with us
    with serving(options.url) as url:
        print(_where(url), end="\n\n")
        setting = Setting(url, options.rounds, 100_000 if options.skip_million else 1_000_000)
        figures = _measured(options.only or list(MEASURES), setting)
    show(figures)
    if options.json:
        options.json.write_text(as_json(figures))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an empty server to use, instead of one that is started here")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is measured (default: 5)")
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="measure this; may be repeated"
    )
    parser.add_argument(
        "--skip-million", action="store_true", help="claim from 100,000 jobs instead of 1,000,000"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    return parser


def _measured(names: Sequence[str], setting: Setting) -> list[Figure]:
    figures = []
    for name in names:
        print(f"measuring {name} …", flush=True)
        figures += MEASURES[name](setting)
    print()
    return figures


def _where(url: str) -> str:
    server = redis.Redis.from_url(url).info("server")
    name = server.get("server_name", "redis")
    number = server.get(f"{name}_version", server["redis_version"])
    return (
        f"Python {platform.python_version()}, redis-py {version('redis')}, hiredis {version('hiredis')}, "
        f"{name} {number}, {platform.machine()}"
    )


if __name__ == "__main__":
    main()
