"""The report as one page of HTML that needs nothing else: no scripts, no files beside it."""

from collections.abc import Iterable, Mapping
from html import escape
from string import Template
from typing import Any, Final

from stanchion_conformance.report.table import FAILED, NOT_RUN, OUTCOMES, PASSED, SKIPPED, Cell, Claim, Table

_MARKS: Final[Mapping[str, str]] = {PASSED: "✓", FAILED: "✗", SKIPPED: "○", NOT_RUN: "?"}

_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Stanchion: what backends were shown to do</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top }
thead th { position: sticky; top: 0; background: #fff }
small, .note { color: #666; font-size: .82rem } small { display: block; font-weight: normal }
td ul { margin: .2rem 0 0; padding-left: 1rem } pre { white-space: pre-wrap; font-size: .82rem; margin: .2rem 0 }
.passed b { color: #1a7f37 } .failed b { color: #c1121f } .skipped b, .not-run b { color: #777 }
td.failed { background: #fdecea } td.not-run { background: #fff8e1 }
</style>
</head>
<body>
<h1>What backends were shown to do</h1>
<p>Stanchion's conformance suite, $written_at; the run: $run.</p>
<p class="note">$versions</p>
$body
</body>
</html>
""")

_NOTHING: Final = (
    "<p>No test of the conformance suite was collected, so nothing was shown of any backend.</p>"
)


def page(table: Table, report: Mapping[str, Any]) -> str:
    """Write the whole page.

    Args:
        table: What was found.

        report: When it was written, how the run ended, and the versions of what ran.

    Returns:
        HTML.
    """
    parts = [_errors(table), _summary(table) if table.backends else _NOTHING]
    parts += [_level(table, level, claims) for level, claims in table.levels.items()]
    return _PAGE.substitute(
        written_at=escape(report["written_at"]),
        run=escape(report["run"]),
        versions=escape(" · ".join(f"{name} {number}" for name, number in report["versions"].items())),
        body="\n".join(filter(None, parts)),
    )


def _errors(table: Table) -> str:
    rows = (f"<li>{escape(where)}<pre>{escape(why)}</pre></li>" for where, why in table.errors.items())
    return f"<h2>Could not be collected</h2><ul>{''.join(rows)}</ul>" if table.errors else ""


def _summary(table: Table) -> str:
    rows = []
    for where, title in table.backends.items():
        counts = table.counts(where)
        cells = "".join(f"<td>{_counted(counts[level])}</td>" for level in table.levels)
        rows.append(f"<tr><th>{escape(title)}<small>{escape(where)}</small></th>{cells}</tr>")
    return _table(["Backend", *table.levels], rows)


def _counted(counts: Mapping[str, int]) -> str:
    """How many claims came to what: words, so that no colour needs to be seen."""
    found = [
        f'<span class="{_class(outcome)}"><b>{counts[outcome]}</b> {outcome}</span>'
        for outcome in OUTCOMES
        if counts.get(outcome)
    ]
    return ", ".join(found) or "no claims"


def _level(table: Table, level: str, claims: Iterable[Claim]) -> str:
    rows = (
        f"<tr><th>{escape(claim.words)}<small>{escape(claim.group)}: {escape(claim.meaning)}</small></th>"
        + "".join(_cell(claim.cells.get(where)) for where in table.backends)
        + "</tr>"
        for claim in claims
    )
    return f"<h2>{escape(level.capitalize())}</h2>\n" + _table(["Claim", *table.backends.values()], rows)


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    cases = f" <span class='note'>{len(cell.outcomes)} cases</span>" if len(cell.outcomes) > 1 else ""
    mark = f"<b>{_MARKS[cell.outcome]} {cell.outcome}</b>{cases}"
    return f'<td class="{_class(cell.outcome)}">{mark}{_failures(cell)}{_skips(cell)}</td>'


def _failures(cell: Cell) -> str:
    failed = cell.because(FAILED)
    rows = (f"<li>{escape(case)}<pre>{escape(reason)}</pre></li>" for case, reason in failed.items())
    return f"<ul>{''.join(rows)}</ul>" if failed else ""


def _skips(cell: Cell) -> str:
    """Each reason once, and for how many cases it is one."""
    reasons = list(cell.because(SKIPPED).values())
    rows = (
        f"<small>{escape(reason)}"
        + (f" ({reasons.count(reason)} cases)" if len(cell.outcomes) > 1 else "")
        + "</small>"
        for reason in dict.fromkeys(reasons)
    )
    return "".join(rows)


def _class(outcome: str) -> str:
    return outcome.replace(" ", "-")
