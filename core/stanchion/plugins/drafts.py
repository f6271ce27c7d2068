"""Drafts: how `before_enqueue` changes or rejects the jobs to be enqueued."""

from collections.abc import Iterable
from typing import Final, TypeVar

from stanchion.errors.texts import without_addresses
from stanchion.plugins.hookspecs import JobDraft
from stanchion.plugins.isolation import is_ctrl_c, isolated
from stanchion.plugins.manager import Hook, Plugins

_HOOK: Final = "before_enqueue"

D = TypeVar("D", bound=JobDraft)


def prepared(plugins: Plugins, drafts: Iterable[D]) -> list[D]:
    """Pass each job to be enqueued to each plugin, in the order listed, to change or reject it.

    Nothing is enqueued yet, so one that is rejected leaves no other job in the store.

    Args:
        plugins: The application's plugins.

        drafts: The jobs.

    Returns:
        The drafts that are to be enqueued, in the same order.

    Raises:
        Exception: What a plugin rejects a job with.
        StanchionError: A plugin raised something that is not an `Exception`.
        TypeError: A plugin returned something that is not a draft, or a draft of another task.
    """
    hooks = plugins.callers(_HOOK)
    if not hooks:
        return list(drafts)
    return [_prepared(hooks, draft) for draft in drafts]


def _prepared(hooks: Iterable[tuple[str, Hook]], draft: D) -> D:
    for name, hook in hooks:
        with isolated(name, _HOOK, passing=is_ctrl_c):
            changed = hook(draft=draft)
        if changed is None:
            continue
        if not isinstance(changed, type(draft)):
            raise TypeError(
                f"plugin {name}: before_enqueue must return a draft or None, not {without_addresses(repr(changed))}"
            )
        if changed.task != draft.task:
            raise TypeError(
                f"plugin {name}: before_enqueue must return a draft of the same task: {draft.task}, "
                f"not {changed.task}"
            )
        draft = changed
    return draft
