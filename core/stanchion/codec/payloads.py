"""Payloads: arguments, results, errors and policies as bytes, and back.

Everything is JSON by way of msgspec, never pickle: stored data can name a registered task and its arguments,
and nothing else. What JSON would silently change (NaN, infinities) or a reader could choke on (depth, size) is
refused here, before any I/O.

A spec is two ASCII characters, the codec `j` and the version `1`, followed by the JSON object
`{"args": …, "policy": …, "call": …}`. Durations in it are integer milliseconds. `call` names the call that enqueued
a job under a key of the caller's own, so that its repetition recognises what it made.
"""

import math
import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec

from stanchion.codec.roundtrip import loss
from stanchion.errors import PayloadError
from stanchion.model.policies import LONGEST, Backoff, Exponential, Fixed, Policy

LARGEST: Final = 1 << 20
"""Bytes: the largest arguments, result or saved data; a queue is no object store."""

DEEPEST: Final = 64
"""How many lists and objects may be nested."""

_NOT_FINITE: Final = re.compile(rb'null|"nan"|"-?inf"')
"""What msgspec may have written for NaN or an infinity: as a value, or as the key of an object."""

_SPEC_TAG: Final = b"j1"


class Unreadable(PayloadError):
    """Stored bytes that this version cannot read."""


def encode(value: object, what: str) -> bytes:
    """A value as JSON.

    Args:
        value: What msgspec can encode: JSON's types, dataclasses, attrs classes, datetime, UUID, Decimal, Enum, …

        what: What it is, as the error shall name it.

    Raises:
        PayloadError: It cannot be encoded, is not finite, nested deeper than `DEEPEST`, larger than `LARGEST`, or
            has keys that differ but are one in JSON.
    """
    payload = encode_plain(value, what)
    if msgspec.json.encode(msgspec.json.decode(payload)) != payload and _keys_collide(payload):
        raise PayloadError(f"{what} cannot be stored as JSON: two keys of a dict are the same text there")
    return payload


def encode_plain(value: object, what: str) -> bytes:
    """A value as JSON that a `misfit` will be asked about; `encode` is for values without a hint.

    Raises:
        PayloadError: It cannot be encoded, is not finite, nested deeper than `DEEPEST` or larger than `LARGEST`.
    """
    try:
        payload = msgspec.json.encode(value)
    except Exception as error:
        raise PayloadError(f"{what} cannot be stored as JSON: {error or type(error).__name__}") from error
    check(payload, value, what)
    return payload


def _keys_collide(payload: bytes) -> bool:
    import json  # msgspec keeps the last of equal keys; needed only if a payload does not come back the same

    lost: list[int] = []
    json.loads(payload, object_pairs_hook=lambda pairs: lost.append(len(pairs) - len(dict(pairs))))
    return any(lost)


def misfit(payload: bytes, value: object, decoder: msgspec.json.Decoder[Any]) -> str | None:
    """Say why a value would not come back equal.

    Args:
        payload: The value as JSON.

        value: The value.

        decoder: What the payload will be decoded by.

    Returns:
        `None` if it comes back equal, as `stanchion.codec.roundtrip` defines it; otherwise what differs, and where.
    """
    try:
        back = decoder.decode(payload)
    except Exception as error:  # noqa: BLE001 - the types of a hint have code of their own
        return str(error) or type(error).__name__
    return loss(value, back, payload)


def check(payload: bytes, value: object, what: str) -> None:
    """Refuse a payload that is too large, too deep, or lost something on the way to JSON."""
    if len(payload) > LARGEST:
        raise PayloadError(f"{what}: {len(payload)} bytes; the limit is {LARGEST}")
    if payload.count(b"[") + payload.count(b"{") > DEEPEST and _depth(msgspec.json.decode(payload)) > DEEPEST:
        raise PayloadError(f"{what}: nested deeper than {DEEPEST} levels")
    if _NOT_FINITE.search(payload) and not _finite(msgspec.to_builtins(value)):
        raise PayloadError(f"{what}: NaN or an infinity in it, which JSON does not have")


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        level = [child for parent in level for child in _children(parent)]
        deepest += 1
    return deepest


def _finite(value: object) -> bool:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return False
        pending.extend(_children(one))
        pending.extend(one if isinstance(one, dict) else ())
    return True


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def decode(payload: bytes, hint: Any = Any) -> Any:
    """A stored value, restored by its type hint.

    Raises:
        Unreadable: It does not fit the hint, is no JSON, or the hint is none that JSON can be restored by.
    """
    try:
        return msgspec.json.decode(payload, type=hint)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"a stored value does not fit {hint}: {error}") from error


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


class _SpecWire(msgspec.Struct):
    args: msgspec.Raw
    policy: msgspec.Raw = msgspec.Raw(b"{}")


_spec_decoder: Final = msgspec.json.Decoder(_SpecWire)
_policy_decoder: Final = msgspec.json.Decoder(_PolicyWire)


def encode_policy(policy: Policy) -> bytes:
    """A policy as the JSON object that goes into a spec; what has its default value is left out."""
    wire, usual = _wire(policy), _wire(_USUAL)
    return msgspec.json.encode({name: value for name, value in wire.items() if value != usual[name]})


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


def encode_spec(args: bytes, policy: bytes, call: str | None = None) -> bytes:
    """Return a spec made of arguments and policy, both JSON already, and of an id of the call that enqueues it."""
    policy = b"" if policy == b"{}" else b',"policy":%b' % policy
    named = b"" if call is None else b',"call":"%b"' % call.encode()
    return b'%b{"args":%b%b%b}' % (_SPEC_TAG, args, policy, named)


def decode_spec(spec: bytes) -> tuple[msgspec.Raw, Policy]:
    """The arguments, still JSON, and the policy of a spec.

    Raises:
        Unreadable: It was written by another version, or is damaged.
    """
    if not spec.startswith(_SPEC_TAG):
        raise Unreadable(f"its spec is tagged {spec[:2]!r}; this version reads {_SPEC_TAG!r}")
    try:
        wire = _spec_decoder.decode(spec[2:])
        return wire.args, _policy(bytes(wire.policy))
    except (msgspec.DecodeError, OverflowError, ValueError, RecursionError) as error:
        raise Unreadable(f"its spec is damaged: {error}") from error


UNREADABLE: Final = Policy(retries=0, max_lost=0)
"""Stands in for a policy that cannot be read: whatever happens next is the job's end."""


def policy_of(spec: bytes) -> Policy:
    """The policy of a spec; `UNREADABLE` if it cannot be read, so that no bad record stops a sweep."""
    try:
        return decode_spec(spec)[1]
    except Unreadable:
        return UNREADABLE


@lru_cache(maxsize=1024)
def _policy(raw: bytes) -> Policy:
    wire = _policy_decoder.decode(raw)
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
