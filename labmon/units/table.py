"""The table. Factors are those of UCUM, which rest on the legal definitions of inch, pound and standard gravity."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "temperature": "temperature",
        "temperature-difference": "difference of two temperatures",
        "relative-humidity": "relative humidity",
        "ratio-co2": "volume fraction of carbon dioxide in a gas",
        "ratio-o2": "volume fraction of oxygen in a gas",
        "oxygen-saturation": "dissolved oxygen, relative to saturation with air",
        "ratio": "ratio",
        "pressure": "pressure, absolute or differential",
        "ph": "pH",
        "mass-concentration": "mass per volume",
        "amount-concentration": "amount of substance per volume",
        "cell-concentration": "cells per volume",
        "particle-concentration": "particles per volume of air",
        "count": "number of things counted",
        "cfu": "colony forming units",
        "cfu-concentration": "colony forming units per volume of air",
        "volume-flow": "volume flow at the conditions of the gas or liquid",
        "standard-flow": "gas flow as volume at the instrument's standard conditions",
        "speed": "speed of air",
        "rotational-speed": "rotational speed",
        "volume": "volume",
        "mass": "mass",
        "length": "length, level",
        "time": "duration",
        "frequency": "frequency",
        "voltage": "voltage",
        "current": "electric current",
        "resistance": "electric resistance",
        "conductivity": "electric conductivity",
        "power": "power",
        "state": "state, status word or plain number",
    }
)
"""Quantity kinds with a wording for people. A kind is the name of the measurement in the store: it never changes."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One code. `value * factor + offset` is the value in the kind's base unit, exactly."""

    code: str
    kind: str
    symbol: str
    factor: Fraction
    offset: Fraction = Fraction(0)


class UnknownUnit(ValueError):
    """A code that the table does not hold; `suggestions` are the likeliest ones that it does."""

    def __init__(self, code: str, suggestions: list[str]) -> None:
        hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
        super().__init__(f"unknown unit {code!r}{hint}")
        self.code = code
        self.suggestions = suggestions


_INCH = Fraction("0.0254")
_FOOT3 = (12 * _INCH) ** 3
_GRAVITY = Fraction("9.80665")
_POUND = Fraction("0.45359237")

# kind -> (code, symbol, factor to the kind's base[, offset]); the base unit of each kind comes first.
_ROWS: dict[str, list[tuple[str, str, str | Fraction] | tuple[str, str, str | Fraction, str | Fraction]]] = {
    "temperature": [
        ("K", "K", "1"),
        ("Cel", "°C", "1", "273.15"),
        ("[degF]", "°F", "5/9", Fraction("459.67") * 5 / 9),
    ],
    # UCUM has no codes of its own for differences; the annotation keeps them from being taken for temperatures.
    "temperature-difference": [("K{delta}", "K", "1"), ("Cel{delta}", "°C", "1"), ("[degF]{delta}", "°F", "5/9")],
    "relative-humidity": [("%{RH}", "% RH", "1")],
    "ratio-co2": [("%{CO2}", "% CO₂", "1"), ("[ppm]{CO2}", "ppm CO₂", "1/10000")],
    "ratio-o2": [("%{O2}", "% O₂", "1"), ("[ppm]{O2}", "ppm O₂", "1/10000")],
    "oxygen-saturation": [("%{sat}", "% sat", "1")],
    "ratio": [("%", "%", "1"), ("[ppth]", "‰", "1/10"), ("[ppm]", "ppm", "1/10000"), ("[ppb]", "ppb", "1/10000000")],
    "pressure": [
        ("Pa", "Pa", "1"),
        ("daPa", "daPa", "10"),
        ("hPa", "hPa", "100"),
        ("kPa", "kPa", "1000"),
        ("MPa", "MPa", "1000000"),
        ("mbar", "mbar", "100"),
        ("bar", "bar", "100000"),
        ("mm[H2O]", "mmH₂O", _GRAVITY),
        ("[in_i'H2O]", "inH₂O", Fraction("9806.65") * _INCH),
        ("mm[Hg]", "mmHg", "133.322"),
        ("[psi]", "psi", _POUND * _GRAVITY / _INCH**2),
    ],
    "ph": [("[pH]", "pH", "1")],
    "mass-concentration": [
        ("g/L", "g/L", "1"),
        ("mg/L", "mg/L", "1/1000"),
        ("ug/L", "µg/L", "1/1000000"),
        ("g/m3", "g/m³", "1/1000"),
        ("mg/m3", "mg/m³", "1/1000000"),
        ("ug/m3", "µg/m³", "1/1000000000"),
    ],
    "amount-concentration": [
        ("mol/L", "mol/L", "1"),
        ("mmol/L", "mmol/L", "1/1000"),
        ("umol/L", "µmol/L", "1/1000000"),
    ],
    "cell-concentration": [("{cells}/mL", "cells/mL", "1"), ("10*6{cells}/mL", "10⁶ cells/mL", "1000000")],
    "particle-concentration": [
        ("{#}/m3", "/m³", "1"),
        ("{#}/L", "/L", "1000"),
        ("{#}/[cft_i]", "/ft³", 1 / _FOOT3),
    ],
    "count": [("{#}", "", "1")],
    "cfu": [("[CFU]", "CFU", "1")],
    "cfu-concentration": [("[CFU]/m3", "CFU/m³", "1")],
    "volume-flow": [
        ("m3/s", "m³/s", "1"),
        ("m3/h", "m³/h", "1/3600"),
        ("L/s", "L/s", "1/1000"),
        ("L/min", "L/min", "1/60000"),
        ("L/h", "L/h", "1/3600000"),
        ("mL/min", "mL/min", "1/60000000"),
        ("mL/h", "mL/h", "1/3600000000"),
        ("[cft_i]/min", "ft³/min", _FOOT3 / 60),
    ],
    # Standard temperature and pressure differ from maker to maker: there is no factor to a volume flow.
    "standard-flow": [("L{std}/min", "L/min (std)", "1"), ("mL{std}/min", "mL/min (std)", "1/1000")],
    "speed": [("m/s", "m/s", "1"), ("cm/s", "cm/s", "1/100"), ("[ft_i]/min", "ft/min", 12 * _INCH / 60)],
    "rotational-speed": [("{rev}/min", "rpm", "1")],
    "volume": [
        ("m3", "m³", "1"),
        ("L", "L", "1/1000"),
        ("mL", "mL", "1/1000000"),
        ("uL", "µL", "1/1000000000"),
        ("[cft_i]", "ft³", _FOOT3),
    ],
    "mass": [("kg", "kg", "1"), ("g", "g", "1/1000"), ("mg", "mg", "1/1000000")],
    "length": [
        ("m", "m", "1"),
        ("cm", "cm", "1/100"),
        ("mm", "mm", "1/1000"),
        ("um", "µm", "1/1000000"),
        ("[in_i]", "in", _INCH),
    ],
    "time": [("s", "s", "1"), ("ms", "ms", "1/1000"), ("min", "min", "60"), ("h", "h", "3600"), ("d", "d", "86400")],
    "frequency": [("Hz", "Hz", "1"), ("kHz", "kHz", "1000")],
    "voltage": [("V", "V", "1"), ("mV", "mV", "1/1000")],
    "current": [("A", "A", "1"), ("mA", "mA", "1/1000"), ("uA", "µA", "1/1000000"), ("nA", "nA", "1/1000000000")],
    "resistance": [("Ohm", "Ω", "1"), ("kOhm", "kΩ", "1000"), ("MOhm", "MΩ", "1000000")],
    "conductivity": [("S/m", "S/m", "1"), ("mS/cm", "mS/cm", "1/10"), ("uS/cm", "µS/cm", "1/10000")],
    "power": [("W", "W", "1"), ("kW", "kW", "1000")],
    "state": [("1", "", "1")],
}

# What people and instruments write instead, lower case and without blanks -> the codes they may mean.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("c", "°c", "degc", "celsius", "deg_c", "oc"), ("Cel",)),
    **dict.fromkeys(("f", "°f", "degf", "fahrenheit", "deg_f"), ("[degF]",)),
    **dict.fromkeys(("kelvin", "degk"), ("K",)),
    **dict.fromkeys(("%rh", "rh", "%r.h.", "rh%", "%rf"), ("%{RH}",)),
    **dict.fromkeys(("%co2", "co2", "co2%", "%vol", "vol%"), ("%{CO2}", "%{O2}")),
    **dict.fromkeys(("%o2", "o2", "o2%"), ("%{O2}",)),
    **dict.fromkeys(("%sat", "%-sat", "sat", "%do", "%{o2sat}", "%airsat"), ("%{sat}",)),
    **dict.fromkeys(("percent", "pct"), ("%", "%{RH}", "%{CO2}")),
    **dict.fromkeys(("ppm", "ppmv"), ("[ppm]{CO2}", "[ppm]")),
    "ph": ("[pH]",),
    **dict.fromkeys(("#/m3", "1/m3", "/m3", "{counts}/m3", "{particles}/m3", "counts/m3", "particles/m3"), ("{#}/m3",)),
    **dict.fromkeys(("#/ft3", "1/ft3", "/ft3", "{#}/ft3", "counts/ft3", "{#}/cft", "{#}/cf"), ("{#}/[cft_i]",)),
    **dict.fromkeys(("#/l", "1/l", "/l", "counts/l"), ("{#}/L",)),
    **dict.fromkeys(("#", "count", "counts", "{counts}"), ("{#}",)),
    **dict.fromkeys(("rpm", "{rpm}", "1/min", "/min", "rev/min", "u/min"), ("{rev}/min",)),
    **dict.fromkeys(("cfm", "ft3/min"), ("[cft_i]/min",)),
    **dict.fromkeys(("slpm", "nl/min", "sl/min", "sl/m"), ("L{std}/min",)),
    **dict.fromkeys(("sccm", "nml/min"), ("mL{std}/min",)),
    **dict.fromkeys(("lpm",), ("L/min",)),
    **dict.fromkeys(("ft3", "cft", "cf"), ("[cft_i]",)),
    **dict.fromkeys(("psi", "psia", "psig"), ("[psi]",)),
    **dict.fromkeys(("mmhg", "torr"), ("mm[Hg]",)),
    **dict.fromkeys(("inh2o", "inwc", "in.wc"), ("[in_i'H2O]",)),
    **dict.fromkeys(("mmh2o", "mmwc"), ("mm[H2O]",)),
    **dict.fromkeys(("fpm", "ft/min"), ("[ft_i]/min",)),
    **dict.fromkeys(("sec", "second", "seconds"), ("s",)),
    **dict.fromkeys(("hr", "hour", "hours"), ("h",)),
    **dict.fromkeys(("ohm", "ω"), ("Ohm",)),
    **dict.fromkeys(("state", "bool", "{state}", "none", "-", ""), ("1",)),
    **dict.fromkeys(("cfu",), ("[CFU]",)),
    **dict.fromkeys(("cfu/m3",), ("[CFU]/m3",)),
}


def _rows() -> Iterator[tuple[str, Unit]]:
    for kind, rows in _ROWS.items():
        for code, symbol, factor, *offset in rows:
            yield code, Unit(code, kind, symbol, Fraction(factor), Fraction(offset[0] if offset else 0))


UNITS: Mapping[str, Unit] = MappingProxyType(dict(_rows()))
"""Every code that labmon knows."""


def unit(code: str) -> Unit:
    """The unit of a UCUM code. Raises UnknownUnit, with suggestions, for a code that is not in the table."""
    found = UNITS.get(code)
    if found is None:
        raise UnknownUnit(code, suggestions(code))
    return found


def suggestions(code: str) -> list[str]:
    """Codes of the table that `code` may have been meant to be, the likeliest first; at most three."""
    plain = "".join(code.split()).lower().replace("³", "3").replace("µ", "u").replace("μ", "u").replace("₂", "2")
    found = list(_SPELLINGS.get(plain, ()))
    found += [known for known in UNITS if known.lower() == plain]
    found += [row.code for row in UNITS.values() if row.symbol and row.symbol.lower() == code.strip().lower()]
    found += difflib.get_close_matches(code, UNITS, n=2, cutoff=0.65)
    return list(dict.fromkeys(found))[:3]
