"""Payloads in formats of plugins: the `decode` hook, held to the rules that every message is held to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from invalidator.errors import DecodeError
from invalidator.messages import REJECT_REASONS, Invalidation, Message, RejectReason, Target
from invalidator.pipeline.bulk import decode_envelopes, decode_keys
from invalidator.pipeline.decoder import decode, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    import pluggy

    from invalidator.messages import Keys, Kind
    from invalidator.pipeline.envelope import Envelopes


def decoder(
    plugins: pluggy.PluginManager, allow: Container[Kind], max_payload: int
) -> Callable[[Message], Invalidation]:
    """What decodes a worker's messages: the contract's formats, after those of plugins if there are any."""

    def built_in(message: Message) -> Invalidation:
        return decode(message.payload, allow, max_payload)

    # A hook call costs 2 µs: ruinous for each message, so it is paid only where a plugin takes part.
    if not plugins.hook.decode.get_hookimpls():
        return built_in

    def through_plugins(message: Message) -> Invalidation:
        channel, payload = message
        if len(payload) > max_payload:
            raise DecodeError("oversize", f"{len(payload)} bytes, at most {max_payload}")
        try:
            decoded = plugins.hook.decode(payload=payload, channel=channel)
            return built_in(message) if decoded is None else admitted(decoded, allow)
        except DecodeError as error:
            if error.reason in REJECT_REASONS:
                raise
            raise DecodeError("plugin", str(error)) from error
        except BaseException as error:
            raise DecodeError("plugin", repr(error)) from error

    return through_plugins


class InBulk(NamedTuple):
    """What decodes many payloads at once, where all of them are of one sort; else it gives None: see bulk.py."""

    keys: Callable[[Sequence[bytes]], Keys | None]
    envelopes: Callable[[Sequence[bytes]], Envelopes | None]


def decoder_in_bulk(plugins: pluggy.PluginManager, allow: Container[Kind], max_payload: int) -> InBulk | None:
    """The same as `decoder` for many; None where a plugin takes part, which is to see each payload."""
    if plugins.hook.decode.get_hookimpls():
        return None
    return InBulk(
        lambda payloads: decode_keys(payloads, allow, max_payload),
        lambda payloads: decode_envelopes(payloads, allow, max_payload),
    )


def admitted(decoded: object, allow: Container[Kind]) -> Invalidation:
    """What a plugin has decoded, without the targets that the worker does not allow or that no message may name.

    Raises DecodeError when nothing is left, or when it is no Invalidation: it would raise later, where it ends the
    worker.
    """
    if not isinstance(decoded, Invalidation) or not _is_sound(decoded):
        raise DecodeError("plugin", f"decode gave {decoded!r:.200}, not an Invalidation with Targets")
    accepted: list[Target] = []
    rejected: list[RejectReason] = [*decoded.rejected]
    for target in decoded.targets:
        refused = refusal(target, allow)
        if refused is None:
            accepted.append(target)
        else:
            rejected.append(refused)
    if not accepted:
        raise DecodeError(rejected[0] if rejected else "no_target")
    return replace(decoded, targets=tuple(accepted), rejected=tuple(rejected))


def _is_sound(decoded: Invalidation) -> bool:
    # Annotations bind no plugin.
    return (
        all(isinstance(target, Target) and isinstance(target.value, str) for target in decoded.targets)
        and all(reason in REJECT_REASONS for reason in decoded.rejected)
        and (decoded.ts is None or isinstance(decoded.ts, int | float))
        and isinstance(decoded.soft, bool)
        and isinstance(decoded.hops, int)
        and all(isinstance(text, str) for text in (decoded.id, decoded.source, decoded.reply, decoded.journal))
    )
