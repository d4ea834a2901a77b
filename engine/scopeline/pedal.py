"""Pedal: says one thing to a running engine and waits for the answer."""

from __future__ import annotations

from typing import Final

import msgspec
import zmq

from scopeline.control import MarkAnswer, MarkRequest, Refusal, StatusAnswer, StatusRequest
from scopeline.endpoint import ZmqContext
from scopeline.errors import WireError
from scopeline.keys import ClientKeys

TIMEOUT_S: Final = 2.0

_ANSWERS: msgspec.json.Decoder[MarkAnswer | StatusAnswer] = msgspec.json.Decoder(MarkAnswer | StatusAnswer)
_REFUSALS = msgspec.json.Decoder(Refusal)


def mark(
    address: str, request: MarkRequest, *, keys: ClientKeys | None = None, timeout_s: float = TIMEOUT_S
) -> MarkAnswer:
    """Set a mark.

    Args:
        address: Where control listens.
        request: The mark.
        keys: Needed when the engine asks for keys.
        timeout_s: How long to wait for the answer.

    Raises:
        WireError: there was no answer, or the engine refused the mark; says why.
    """
    answer = _ask(address, request, keys, timeout_s)
    assert isinstance(answer, MarkAnswer)
    return answer


def status(address: str, *, keys: ClientKeys | None = None, timeout_s: float = TIMEOUT_S) -> StatusAnswer:
    """Ask who is there; arguments and errors as for `mark`."""
    answer = _ask(address, StatusRequest(), keys, timeout_s)
    assert isinstance(answer, StatusAnswer)
    return answer


def _ask(
    address: str, request: MarkRequest | StatusRequest, keys: ClientKeys | None, timeout_s: float
) -> MarkAnswer | StatusAnswer:
    context: ZmqContext = zmq.Context()
    with context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0  # a mark that could not be delivered must not come minutes later
        socket.ipv6 = "[" in address
        if keys is not None:
            keys.unlock(socket)
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            raise WireError(
                f"{address} is no address ({error.strerror}); wanted one like tcp://127.0.0.1:5559"
            ) from error
        socket.send(msgspec.json.encode(request))
        if not socket.poll(round(timeout_s * 1000)):
            raise WireError(_no_answer(address, timeout_s, keys))
        return _read(socket.recv_multipart(), address)


def _read(parts: list[bytes], address: str) -> MarkAnswer | StatusAnswer:
    payload = parts[-1]
    try:
        return _ANSWERS.decode(payload)
    except msgspec.DecodeError:
        pass
    try:
        refusal = _REFUSALS.decode(payload)
    except msgspec.DecodeError as error:
        raise WireError(f"what answers at {address} is not a Scopeline control socket: {error}") from error
    raise WireError(f"the engine refused: {refusal.error}")


def _no_answer(address: str, timeout_s: float, keys: ClientKeys | None) -> str:
    start = f"no answer from {address} within {timeout_s:g} s; nothing is known to have been marked. "
    if keys is None:
        return (
            start + "Is scopeline live running? It says where control listens, and whether it asks for keys"
        )
    return start + (
        "Is scopeline live running there, is the key on its list of operators (scopeline keys list, on that "
        "machine), and is the engine's public key the right one?"
    )
