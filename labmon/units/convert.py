"""Conversion between codes of one quantity kind, computed in exact fractions and rounded once."""

from __future__ import annotations

from fractions import Fraction

from labmon.units.table import unit


class IncompatibleUnits(ValueError):
    """Two codes of different quantity kinds: no factor leads from one to the other."""

    def __init__(self, from_code: str, to_code: str, from_kind: str, to_kind: str) -> None:
        super().__init__(f"{from_code} ({from_kind}) does not convert to {to_code} ({to_kind})")
        self.from_code = from_code
        self.to_code = to_code


def exact(from_code: str, to_code: str) -> tuple[Fraction, Fraction]:
    """Scale and offset with `to == from * scale + offset`, as exact fractions.

    Raises UnknownUnit for a code that is not in the table, IncompatibleUnits when the quantity kinds differ.
    """
    source, target = unit(from_code), unit(to_code)
    if source.kind != target.kind:
        raise IncompatibleUnits(from_code, to_code, source.kind, target.kind)
    return source.factor / target.factor, (source.offset - target.offset) / target.factor


def linear(from_code: str, to_code: str) -> tuple[float, float]:
    """Scale and offset with `to == from * scale + offset`, each the float nearest to the exact number.

    Raises UnknownUnit and IncompatibleUnits.
    """
    scale, offset = exact(from_code, to_code)
    return float(scale), float(offset)


def delta_scale(from_code: str, to_code: str) -> float:
    """Scale for a difference (a dead-band, a spread): 1 degF apart is 5/9 Cel apart, without an offset.

    Raises UnknownUnit and IncompatibleUnits.
    """
    return float(exact(from_code, to_code)[0])
