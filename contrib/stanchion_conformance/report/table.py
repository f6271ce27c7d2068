"""The table: for each claim and each backend what was found, and what that comes to for each level."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, define, frozen

PASSED: Final = "passed"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
NOT_RUN: Final = "not run"
OUTCOMES: Final = (PASSED, FAILED, SKIPPED, NOT_RUN)
"""The outcomes of a case, and of a claim."""

OWN: Final = "own"
"""The level of tests that a backend's class adds of its own."""


@frozen(kw_only=True)
class Case:
    """One test as pytest knows it: a claim about a backend, with one set of parameters."""

    backend: str
    """The title of the backend."""

    where: str
    """The test class: its file and name."""

    level: str
    """The level of the claim."""

    group: str
    """The class of the suite that the claim is in."""

    claim: str
    """The name of the test without its parameters."""

    meaning: str
    """What its docstring says."""

    parameters: str
    """What distinguishes it from other cases of the claim; empty if there are none."""


@define
class Cell:
    """What was found of one claim for one backend."""

    outcomes: dict[str, str] = Factory(dict)
    """What became of each case, by its parameters."""

    reasons: dict[str, str] = Factory(dict)
    """Why a case failed or was skipped."""

    seconds: float = 0.0
    """How long all cases took."""

    @property
    def outcome(self) -> str:
        """What that comes to: the worst case's, but for skipped ones if others passed."""
        found = set(self.outcomes.values())
        return next(one for one in (FAILED, NOT_RUN, PASSED, SKIPPED) if one in found)

    def because(self, outcome: str) -> dict[str, str]:
        """Return the reasons of the cases of this outcome.

        Returns:
            Reasons by the parameters of the case.
        """
        return {case: self.reasons.get(case, "") for case, one in self.outcomes.items() if one == outcome}

    def plain(self) -> dict[str, Any]:
        """Return the cell in JSON's types.

        Returns:
            What the JSON report has for it.
        """
        return {
            "outcome": self.outcome,
            "cases": len(self.outcomes),
            "seconds": round(self.seconds, 3),
            **{
                outcome: [{"case": case, "reason": reason} for case, reason in found.items()]
                for outcome in (FAILED, SKIPPED, NOT_RUN)
                if (found := self.because(outcome))
            },
        }


@define
class Claim:
    """One row."""

    name: str
    level: str
    group: str
    meaning: str
    cells: dict[str, Cell] = Factory(dict)
    """What was found, by backend."""

    @property
    def words(self) -> str:
        """The claim as it reads."""
        return self.name.removeprefix("test_").replace("_", " ")


class Table:
    """All that a run found."""

    def __init__(self, levels: tuple[str, ...]) -> None:
        self._levels = levels
        self._claims: dict[tuple[str, str, str], Claim] = {}
        self.backends: dict[str, str] = {}
        """The backends' titles, by test class."""
        self.errors: dict[str, str] = {}
        """What could not be collected, and why."""

    def expect(self, case: Case) -> None:
        """Note that a case will run."""
        self._cell(case).outcomes.setdefault(case.parameters, NOT_RUN)

    def add(self, case: Case, outcome: str, reason: str, seconds: float) -> None:
        """One phase of a case is over: its setup, its call or its teardown. The worst phase counts."""
        cell = self._cell(case)
        cell.seconds += seconds
        before = cell.outcomes.get(case.parameters, NOT_RUN)
        if before == FAILED or (before == SKIPPED and outcome == PASSED):
            return
        cell.outcomes[case.parameters] = outcome
        if reason:
            cell.reasons[case.parameters] = reason

    def _cell(self, case: Case) -> Cell:
        self.backends.setdefault(case.where, case.backend)
        key = (case.level, case.group, case.claim)
        claim = self._claims.setdefault(key, Claim(case.claim, case.level, case.group, case.meaning))
        return claim.cells.setdefault(case.where, Cell())

    @property
    def levels(self) -> Mapping[str, list[Claim]]:
        """The claims of each level, in the order in which they were met; levels without any are left out."""
        found = {
            level: [one for one in self._claims.values() if one.level == level] for level in self._levels
        }
        return {level: claims for level, claims in found.items() if claims}

    def counts(self, where: str) -> Mapping[str, Counter[str]]:
        """Count the claims of each level by outcome, for one backend.

        Returns:
            Counts by level.
        """
        return {
            level: Counter(claim.cells[where].outcome for claim in claims if where in claim.cells)
            for level, claims in self.levels.items()
        }

    def plain(self) -> dict[str, Any]:
        """Return the table in JSON's types.

        Returns:
            What the JSON report has for it.
        """
        return {
            "backends": [
                {
                    "title": title,
                    "where": where,
                    "counts": {level: dict(counts) for level, counts in self.counts(where).items()},
                }
                for where, title in self.backends.items()
            ],
            "claims": [
                {
                    "name": claim.name,
                    "level": level,
                    "group": claim.group,
                    "meaning": claim.meaning,
                    "found": {where: cell.plain() for where, cell in claim.cells.items()},
                }
                for level, claims in self.levels.items()
                for claim in claims
            ],
            "errors": self.errors,
        }
