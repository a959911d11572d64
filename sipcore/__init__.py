"""sipcore: a SIP stack.  What applications use is named here; each name is imported when it is first used.

The package alone knows nothing; see `docs/architecture.md` for the rooms.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sipcore.errors import (
    CallBusy,
    CallCancelled,
    CallError,
    CallRejected,
    CallTimeout,
    ConfigError,
    LocateError,
    ParseError,
    SipError,
    TransactionTimeout,
    TransportError,
    UsageError,
)
from sipcore.loading import find_compiled_rooms

find_compiled_rooms(__path__[0])

if TYPE_CHECKING:
    from sipcore._framing import StreamFramer
    from sipcore._message import Message, Request, Response, build_request, build_response, parse
    from sipcore._uri import Uri
    from sipcore.aio import AsyncioEnv, run
    from sipcore.call import Call, IncomingCall, OutgoingCall
    from sipcore.device import Device
    from sipcore.dialog import Dialog
    from sipcore.limits import Lenience, Limits
    from sipcore.membership import RegistrationState
    from sipcore.outgoing import Challenged, ClientTransaction, Hop, OutgoingRequest
    from sipcore.proxy import Proxy
    from sipcore.registrar import Registrar
    from sipcore.registrations import Registration, Registrations
    from sipcore.serving import serve
    from sipcore.stack import Stack, UserAgent
    from sipcore.workers import Workers

__version__ = "0.1.0"

__all__ = [
    "AsyncioEnv",
    "Call",
    "CallBusy",
    "CallCancelled",
    "CallError",
    "CallRejected",
    "CallTimeout",
    "Challenged",
    "ClientTransaction",
    "ConfigError",
    "Device",
    "Dialog",
    "Hop",
    "IncomingCall",
    "Lenience",
    "Limits",
    "LocateError",
    "Message",
    "OutgoingCall",
    "OutgoingRequest",
    "ParseError",
    "Proxy",
    "Registrar",
    "Registration",
    "RegistrationState",
    "Registrations",
    "Request",
    "Response",
    "SipError",
    "Stack",
    "StreamFramer",
    "TransactionTimeout",
    "TransportError",
    "Uri",
    "UsageError",
    "UserAgent",
    "Workers",
    "build_request",
    "build_response",
    "parse",
    "run",
    "serve",
]

_ROOMS = {
    "sipcore._framing": ("StreamFramer",),
    "sipcore._message": ("Message", "Request", "Response", "build_request", "build_response", "parse"),
    "sipcore._uri": ("Uri",),
    "sipcore.aio": ("AsyncioEnv", "run"),
    "sipcore.call": ("Call", "IncomingCall", "OutgoingCall"),
    "sipcore.device": ("Device",),
    "sipcore.dialog": ("Dialog",),
    "sipcore.limits": ("Lenience", "Limits"),
    "sipcore.membership": ("RegistrationState",),
    "sipcore.outgoing": ("Challenged", "ClientTransaction", "Hop", "OutgoingRequest"),
    "sipcore.proxy": ("Proxy",),
    "sipcore.registrar": ("Registrar",),
    "sipcore.serving": ("serve",),
    "sipcore.registrations": ("Registration", "Registrations"),
    "sipcore.stack": ("Stack", "UserAgent"),
    "sipcore.workers": ("Workers",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the room of a public name when the name is first used (PEP 562)."""
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
