"""Specs: how a job's arguments and policy are stored.

Arguments are two ASCII characters, the codec `j` and the version `1`, followed by a JSON object. A policy is a JSON
object of what differs from the defaults, with durations in integer milliseconds, or nothing; for a job under a key of
the caller's own, an id of the call that enqueued it follows on a second line.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec

from stanchion.codec.payloads import Unreadable
from stanchion.model.policies import LONGEST, Backoff, Exponential, Fixed, Policy

_TAG: Final = b"j1"

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=LONGEST // timedelta(milliseconds=1))]
"""A damaged policy must not lead to an instant that no clock can hold."""


class _FixedWire(msgspec.Struct, tag="fixed", tag_field="kind"):
    wait_ms: _Milliseconds


class _ExponentialWire(msgspec.Struct, tag="exponential", tag_field="kind", omit_defaults=True):
    base_ms: _Milliseconds = 5_000
    cap_ms: _Milliseconds = 3_600_000


class _PolicyWire(msgspec.Struct, omit_defaults=True):
    retries: _Count = 3
    max_lost: _Count = 3
    backoff: _FixedWire | _ExponentialWire = msgspec.field(default_factory=_ExponentialWire)
    timeout_ms: _Milliseconds = 1_800_000
    keep_ms: _Milliseconds | None = 86_400_000
    keep_failed_ms: _Milliseconds | None = 604_800_000
    unique: str | None = None
    unique_until: Literal["start", "end"] = "end"


_policy_decoder: Final = msgspec.json.Decoder(_PolicyWire)


def encode_policy(policy: Policy) -> bytes:
    """Return a policy as it is stored.

    Args:
        policy: The policy.

    Returns:
        A JSON object of what differs from the defaults; empty if nothing does.
    """
    wire, usual = _wire(policy), _wire(_USUAL)
    differing = {name: value for name, value in wire.items() if value != usual[name]}
    return msgspec.json.encode(differing) if differing else b""


_USUAL: Final = Policy()


def _wire(policy: Policy) -> dict[str, object]:
    backoff = policy.backoff
    return {
        "retries": policy.retries,
        "max_lost": policy.max_lost,
        "backoff": _FixedWire(_ms(backoff.wait))
        if isinstance(backoff, Fixed)
        else _ExponentialWire(_ms(backoff.base), _ms(backoff.cap)),
        "timeout_ms": _ms(policy.timeout),
        "keep_ms": None if policy.keep is None else _ms(policy.keep),
        "keep_failed_ms": None if policy.keep_failed is None else _ms(policy.keep_failed),
        "unique": policy.unique,
        "unique_until": policy.unique_until,
    }


def name_call(policy: bytes, call: str | None) -> bytes:
    """Return a stored policy that names the call which enqueues the job, so that its repetition is recognised.

    Args:
        policy: The policy as it is stored.

        call: An id of the call; `None` if the job's key is new, which is enough.

    Returns:
        The policy, followed by a line with the id.
    """
    return policy if call is None else b"%b\n%b" % (policy, call.encode())


def encode_args(args: bytes) -> bytes:
    """Return arguments as they are stored.

    Args:
        args: A JSON object.

    Returns:
        The same after two ASCII characters: the codec `j` and the version `1`.
    """
    return _TAG + args


def decode_args(stored: bytes) -> msgspec.Raw:
    """Return the arguments of a job, still JSON.

    Args:
        stored: As they are stored.

    Returns:
        A JSON object.

    Raises:
        Unreadable: They were written by another version, or are damaged.
    """
    if not stored.startswith(_TAG):
        raise Unreadable(
            f"cannot read its arguments: they are tagged {stored[:2]!r}, this version reads {_TAG!r}"
        )
    return msgspec.Raw(stored[len(_TAG) :])


UNREADABLE: Final = Policy(retries=0, max_lost=0)
"""Stands in for a policy that cannot be read: whatever happens next is the job's end."""


def policy_of(stored: bytes) -> Policy:
    """Return the policy of a job.

    Args:
        stored: As it is stored.

    Returns:
        The policy; `UNREADABLE` if it cannot be read, so that no bad record stops a sweep.
    """
    try:
        return decode_policy(stored)
    except Unreadable:
        return UNREADABLE


def decode_policy(stored: bytes) -> Policy:
    """Return the policy of a job.

    Args:
        stored: As it is stored.

    Returns:
        The policy.

    Raises:
        Unreadable: It was written by another version, or is damaged.
    """
    try:
        return _policy(stored.partition(b"\n")[0])
    except (msgspec.DecodeError, OverflowError, ValueError, RecursionError) as error:
        raise Unreadable(f"cannot read its policy: {error}") from error


@lru_cache(maxsize=1024)
def _policy(raw: bytes) -> Policy:
    wire = _policy_decoder.decode(raw or b"{}")
    return Policy(
        retries=wire.retries,
        max_lost=wire.max_lost,
        backoff=_backoff(wire.backoff),
        timeout=_span(wire.timeout_ms),
        keep=None if wire.keep_ms is None else _span(wire.keep_ms),
        keep_failed=None if wire.keep_failed_ms is None else _span(wire.keep_failed_ms),
        unique=wire.unique,
        unique_until=wire.unique_until,
    )


def _backoff(wire: _FixedWire | _ExponentialWire) -> Backoff:
    if isinstance(wire, _FixedWire):
        return Fixed(_span(wire.wait_ms))
    return Exponential(_span(wire.base_ms), _span(wire.cap_ms))


def _ms(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))


def _span(ms: int) -> timedelta:
    return timedelta(milliseconds=ms)
