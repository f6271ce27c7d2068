"""The language of the project: retired words stay retired, and docstrings say what a function does and returns."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("core", "backends", "contrib") for path in (ROOT / room).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
HISTORICAL = ("glossary.md", "CHANGELOG.md")
"""Pages that name the words of before."""

RETIRED = {
    r"\b(is|are|was|were|be) told\b|\btells? of\b|\btold of\b": "is notified",
    r"\btell(s|ing)?\b|\btold\b": "notify (hooks), publish (store), report (worker), say, show, distinguish",
    r"\b(is|are|was|be) heard\b|\b(hear|hears|heard) of\b": "is published",
    r"\bput(s|ting)? off\b": "rescheduled",
    r"\b(put|puts|putting|set|sets|setting) aside\b": "quarantined",
    r"\b(let|lets|letting) go\b": "released",
    r"\b(has|have|had) (its|their) turn\b": "runs next",
    r"\bsomebody\b|\bsomeone\b": "a caller",
    r"\btwins?\b": "async backend, with_deadline",
    r"\bnudge[sd]?\b": "wake up",
    r"\bhurr(y|ies|ied)\b": "force stop",
    r"\bhappenings?\b": "history entry",
    r"\bwhat becomes of\b|\bbecome of\b": "new state",
    r"\boutbox\b(?! pattern)": "Settler, or transactional outbox",
    r"\bclocks? (has|have|had) run out\b|\bits clock\b|\bone clock\b": "is due, due_at",
    r"\bunless given\b|\bunless the caller says\b": "Defaults to …",
    r"(?<![`\w])none for ever\b|; none: |\b(that|which) are none\b|\. None waits\b": "`None`",
    r"\bis not possible\b": "cannot cancel job X: it is completed",
    r"\bothers kept changing\b|\bchanged by others while\b": "gave up after N conflicting updates to job X",
    r"\bafter waiting [^`]* for its result\b": "did not finish within 10 s",
    r"\bis a text, not\b": "must be a string, not",
    r"\bno (state|option|setting|task|plugin) is named\b": "unknown state 'x'; expected one of …",
    r"\bneeds more: python": "the Redis backend is not installed: …",
    r"\bNaN or an infinity in it\b": "argument `ratio` is NaN, which JSON cannot represent",
    r"\bonly known inside\b": "can only be called inside a handler",
    r"\bwhose time is up\b": "all 2 slots are held by timed-out threads; not claiming",
    r"\bjob was taken from it\b": "handler finished after its time limit; result discarded",
    r"\bruns it here and now\b": "Call it to run the function",
    r"\bits time is over\b": "its retention expires",
    r"\brunning ones go on\b": "running jobs continue",
    r"\bwhether a wake came\b": "`True` if woken",
    r"\bwas not made, and nothing was\b": "was refused; nothing was written",
    r"\bAsking and telling\b": "Inspect and control jobs",
    r"\bbackend is away\b": "backend is unavailable",
}
"""What is not said any more, as patterns, and what is said instead; see docs/glossary.md."""

PATTERNS = {re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE): say for pattern, say in RETIRED.items()}
"""With line breaks between words."""

NOT_IMPERATIVE = re.compile(
    r"(A|An|The|This|These|Those|Whether|What|How|Where|Why|Who|Which|When|Its?|Some|All|Stored|\w+[^\Ws]s)\b"
)
"""How the first line of a function's docstring does not begin: with a noun, or with a verb in the third person."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def words_of(name: str) -> str:
    """Return the words of an identifier: `put aside` for `_put_aside` and for `PutAside`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", name).strip()


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield what people read in a file, by line: all of a page; of code, strings, comments and names."""
    if path.suffix == ".md":
        yield 1, path.read_text()
        return
    comment, begun = "", 0
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            begun = begun if comment else token.start[0]
            comment += token.string.removeprefix("#") + "\n"
            continue
        if comment and token.type != tokenize.NL:
            yield begun, comment
            comment = ""
        if token.type == tokenize.NAME:
            yield token.start[0], words_of(token.string)
        elif token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string


def retired(path: Path) -> Iterator[str]:
    """Yield where retired words are in a file."""
    for number, text in texts(path):
        for pattern, say in PATTERNS.items():
            for found in pattern.finditer(text):
                line = number + text.count("\n", 0, found.start())
                yield f"{path.relative_to(ROOT)}:{line}: {' '.join(found[0].split())!r} (say: {say})"


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word_is_used(path: Path) -> None:
    """One word for one thing; readers at night know the field's words, not ours."""
    if path.name in HISTORICAL:
        pytest.skip("it names the words of before")

    assert list(retired(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        '"""The job is put\n    off."""',
        "_put_aside = 1",
        "# its\n# twin",
        'f"{job} is told"',
        "class Happening: ...",
    ],
)
def test_a_retired_word_is_found_wherever_it_is(text: str, tmp_path: Path, monkeypatch) -> None:
    """In docstrings and comments across lines, in messages, and in names."""
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "one.py").write_text(f"{text}\n")

    assert list(retired(tmp_path / "one.py"))


def returns_a_value(function: Function) -> bool:
    """Return whether a caller gets something; an operation or coroutine of `None` gives nothing."""
    hint = ast.unparse(function.returns) if function.returns is not None else "None"
    return (
        re.fullmatch(r"None|NoReturn|Never|(Steps|Coroutine|Awaitable)\[(.*, )?None\]", hint.strip("'\""))
        is None
    )


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the public functions and methods of a file."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public(child, f"{prefix}{child.name}.")
        if isinstance(child, Function) and not child.name.startswith("_"):
            yield f"{prefix}{child.name}", child


NO_CALLS = ("property", "cached_property", "overload", "fixture", "hookimpl", "setter")
"""Decorators of what is not called by its name, or whose docstring is elsewhere."""


def is_exempt(function: Function) -> bool:
    """Return whether its docstring is another's: `See …`, or that of the sync method; or it has none to have."""
    names = {ast.unparse(one).split("(")[0].rpartition(".")[2] for one in function.decorator_list}
    doc = ast.get_docstring(function)
    return bool(names & set(NO_CALLS)) or doc is None or bool(re.match(r"See |.*; see `|`\w+`, async", doc))


def documented(path: Path) -> Iterator[tuple[str, Function, str]]:
    """Yield the public functions of a file that have a docstring of their own, and that."""
    for name, function in public(ast.parse(path.read_text())):
        if not is_exempt(function):
            yield name, function, ast.get_docstring(function) or ""


def is_context_manager(function: Function) -> bool:
    """Return whether it is used in a `with`, and its first line says what for."""
    return any("contextmanager" in ast.unparse(one) for one in function.decorator_list)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_say_what_is_returned(path: Path) -> None:
    """Always, when something is returned."""
    silent = [
        name
        for name, function, doc in documented(path)
        if returns_a_value(function) and not is_context_manager(function) and "Returns:\n" not in doc
    ]

    assert silent == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_a_command(path: Path) -> None:
    """`Return the…`, `Claim up to…`: neither a noun nor `Returns the…`."""
    wrong = [
        f"{name}: {doc.splitlines()[0]}" for name, _, doc in documented(path) if NOT_IMPERATIVE.match(doc)
    ]

    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sections_of_docstrings_are_in_order(path: Path) -> None:
    """`Args:`, `Returns:`, `Raises:`; each once."""
    wrong = []
    for name, _, doc in documented(path):
        found = re.findall(r"^(Args|Returns|Raises):$", doc, re.MULTILINE)
        if found != [one for one in ("Args", "Returns", "Raises") if one in found]:
            wrong.append(f"{name}: {found}")

    assert wrong == []
