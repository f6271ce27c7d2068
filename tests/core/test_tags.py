"""Tags that are computed from the arguments of a call."""

import functools

import pytest

from stanchion import Stanchion, State, hookimpl
from stanchion.errors import ConfigError, InvalidArgument, PayloadError


class Untouchable:
    """A backend that must not be called."""

    def __getattr__(self, verb):
        raise AssertionError(f"{verb} was called")


def charge(order: int, amount: float = 1.0, *, currency: str = "EUR") -> None:
    """A handler with arguments of several kinds."""


def by_order(order, **_):
    """What most functions look like."""
    return {f"order:{order}"}


@pytest.fixture
def app():
    return Stanchion("memory://")


def tags_of(app, compute, *args, **kwargs):
    return app.task(tags=compute)(charge).draft(*args, **kwargs).item.tags


@pytest.mark.parametrize(
    ("compute", "tags"),
    [
        (by_order, ("order:7",)),
        (lambda order, amount, currency: [currency, f"{amount:g}"], ("2", "EUR")),
        (lambda **given: sorted(given), ("amount", "currency", "order")),
        (lambda **_: (), ()),
        (lambda **_: ["b", "a", "b"], ("a", "b")),
        (functools.partial(lambda prefix, order, **_: {f"{prefix}:{order}"}, "o"), ("o:7",)),
    ],
    ids=["some", "all by name", "any", "none", "sorted and once", "a partial"],
)
def test_tags_are_computed_from_the_arguments_by_name(app, compute, tags):
    """However the call gives them; those with defaults as well."""
    assert tags_of(app, compute, 7, amount=2.0) == tags


def test_a_job_is_found_by_its_arguments(app):
    """Which is what computed tags are for."""
    task = app.task(tags=by_order)(charge)
    job = task.enqueue(7)
    task.enqueue(8)

    assert job.tags == app.job(job.id).tags == ("order:7",)
    assert app.engine.call(app.engine.counts("default", "order:7"))[State.QUEUED] == 1


def test_arguments_come_as_the_handler_gets_them(app):
    """Restored by the type hints, collected as in the signature; and what is done to them changes nothing."""
    seen = []

    def gather(*rest: int, flag: bool = False, **more: str) -> None: ...

    def compute(rest, flag, more):
        seen.append((rest, flag, dict(more)))
        more.clear()
        return ()

    draft = app.task(tags=compute)(gather).draft(1, 2, a="b")

    assert seen == [((1, 2), False, {"a": "b"})]
    assert draft.arguments == {"rest": (1, 2), "flag": False, "more": {"a": "b"}}


def test_one_use_of_a_task_may_have_other_tags(app):
    """Given or computed."""
    task = app.task(tags=by_order)(charge)

    assert task.using(tags={"a"}).draft(7).item.tags == ("a",)
    assert task.using(priority=3).draft(7).item.tags == ("order:7",)
    assert task.using(tags=lambda amount, **_: {f"{amount:g}"}).draft(7).item.tags == ("1",)


# What a function may not be or do


def test_a_function_that_raises_keeps_the_job_from_being_made(app):
    """The error names the task, the option, the function and its error, which is the cause."""
    task = app.task(tags=lambda order, **_: {f"customer:{order['customer']}"})(charge)
    app.engine.backend = Untouchable()

    with pytest.raises(
        InvalidArgument, match=r"^option tags of task charge: .*<lambda> raised TypeError: "
    ) as raised:
        task.enqueue(7)
    assert isinstance(raised.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "result", [None, "order:7", {7}, {""}, ["a\nb"], iter(["a"])], ids=lambda one: type(one).__name__
)
def test_what_it_returns_is_checked_like_tags_that_are_given(app, result):
    """Before anything is sent."""
    task = app.task(tags=lambda **_: result)(charge)
    app.engine.backend = Untouchable()

    with pytest.raises(
        InvalidArgument,
        match="^option tags of task charge: .*<lambda> returned: tags must be a list, tuple or set",
    ):
        task.enqueue(7)


@pytest.mark.parametrize(
    ("compute", "why"),
    [
        (
            lambda order: {order},
            r"<lambda>\(order\) cannot be called .* \(order, amount, currency\): .*amount",
        ),
        (lambda order, customer, **_: (), "missing a required argument: 'customer'"),
        (lambda order, /, **_: (), "'order'"),
    ],
    ids=["takes too few", "needs more", "positional"],
)
def test_a_function_that_cannot_be_called_is_refused_when_the_task_is_made(app, compute, why):
    """The error says what to write."""
    with pytest.raises(ConfigError, match=rf"^option tags of task charge: .*{why}.*; \*\*_ takes those"):
        app.task(tags=compute)(charge)
    with pytest.raises(ConfigError, match="^option tags of task charge: "):
        app.task(charge).using(tags=compute)


def test_a_function_that_is_async_is_refused(app):
    """Tags are needed before anything is sent, by sync callers too."""

    async def compute(**_): ...

    with pytest.raises(
        InvalidArgument, match="^tags must be computed by a plain function; .*compute.* is async$"
    ):
        app.task(tags=compute)


def test_wrong_arguments_are_refused_before_tags_are_computed(app):
    """The function sees only what fits."""
    task = app.task(tags=lambda **_: 1 / 0)(charge)

    with pytest.raises(PayloadError):
        task.enqueue("seven")


# Plugins that change drafts


class Tenant:
    """Adds a tag."""

    @hookimpl
    def before_enqueue(self, draft):
        return draft.using(tags={*draft.options.tags, "tenant:1"})


class Next:
    """Changes an argument."""

    @hookimpl
    def before_enqueue(self, draft):
        return draft.with_arguments(order=draft.arguments["order"] + 1)


@pytest.mark.parametrize(
    ("plugins", "tags"),
    [
        ([Tenant], ("order:7", "tenant:1")),
        ([Next], ("order:8",)),
        ([Next, Tenant], ("order:8", "tenant:1")),
        ([Tenant, Next], ("order:7", "tenant:1")),
    ],
)
def test_plugins_see_computed_tags_and_may_add_to_them(plugins, tags):
    """They are computed anew when arguments change, unless a plugin has given some."""
    app = Stanchion("memory://", plugins=plugins)

    assert app.task(tags=by_order)(charge).enqueue(7).tags == tags
