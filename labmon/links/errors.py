"""How an exchange can fail. Each says which; none is ever turned into a value."""

from __future__ import annotations

from labmon.model.reading import Reason, reason_text


class LinkError(Exception):
    """An exchange that yielded no reply. `reason` is what a reading made of it carries."""

    code = Reason.INTERNAL

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def reason(self) -> str:
        """The reason text for readings."""
        return reason_text(self.code, self.detail)


class Silent(LinkError):
    """Nothing, or nothing complete, arrived within the timeout."""

    code = Reason.SILENT


class Garbled(LinkError):
    """Bytes arrived that cannot be the reply to this request (checksum, unit, function, length, form)."""

    code = Reason.GARBLED


class Refused(LinkError):
    """The instrument answered this request with an error of its own. A control character is told by its number: 15h."""

    code = Reason.REFUSED

    def __init__(self, error: int | str, detail: str = "") -> None:
        told = "".join(c if c.isprintable() else f"{ord(c):02X}h" for c in str(error))
        super().__init__(f"{told} {detail}".strip())
        self.error = error


class LinkLost(LinkError):
    """The port or connection is not open, or was lost during the exchange."""

    code = Reason.LINK_LOST


UNREACHED = (10, 11)
"""Modbus exceptions by which a gateway says that the unit itself did not answer."""
