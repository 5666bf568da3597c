"""The table against itself, against the definitions it rests on, and against pint where pint can be asked."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from fractions import Fraction

import pint
import pytest

from labmon.units import KINDS, UNITS, IncompatibleUnits, UnknownUnit, delta_scale, exact, linear, unit

# pint's own names. Not asked: what pint does not tell apart (%{RH} and %{CO2} are one to it), pH, and mmHg and
# standard flow, which pint defines otherwise than UCUM.
PINT = {
    "K": "kelvin", "Cel": "degC", "[degF]": "degF",
    "K{delta}": "kelvin", "Cel{delta}": "delta_degC", "[degF]{delta}": "delta_degF",
    "%": "percent", "[ppm]": "ppm", "%{CO2}": "percent", "[ppm]{CO2}": "ppm", "%{O2}": "percent", "[ppm]{O2}": "ppm",
    "[ppth]": "permille", "[ppb]": "nm/m",
    "Pa": "Pa", "daPa": "daPa", "hPa": "hPa", "kPa": "kPa", "MPa": "MPa", "mbar": "mbar", "bar": "bar", "[psi]": "psi",
    "mm[H2O]": "kilogram * g_0 / meter**2", "[in_i'H2O]": "inH2O",
    "g/L": "g/L", "mg/L": "mg/L", "ug/L": "ug/L", "g/m3": "g/m**3", "mg/m3": "mg/m**3", "ug/m3": "ug/m**3",
    "mol/L": "mol/L", "mmol/L": "mmol/L", "umol/L": "umol/L",
    "{cells}/mL": "1/mL", "10*6{cells}/mL": "1/nL",
    "{#}/m3": "1/m**3", "{#}/L": "1/L", "{#}/[cft_i]": "1/foot**3",
    "m3/s": "m**3/s", "m3/h": "m**3/h", "L/s": "L/s", "L/min": "L/min", "L/h": "L/h", "mL/min": "mL/min",
    "mL/h": "mL/h", "[cft_i]/min": "foot**3/min",
    "m/s": "m/s", "cm/s": "cm/s", "[ft_i]/min": "foot/min",
    "m3": "m**3", "L": "L", "mL": "mL", "uL": "uL", "[cft_i]": "foot**3",
    "kg": "kg", "g": "g", "mg": "mg", "m": "m", "cm": "cm", "mm": "mm", "um": "um", "[in_i]": "inch",
    "s": "s", "ms": "ms", "min": "min", "h": "hour", "d": "day", "Hz": "hertz", "kHz": "kilohertz",
    "V": "V", "mV": "mV", "A": "A", "mA": "mA", "uA": "uA", "nA": "nA",
    "Ohm": "ohm", "kOhm": "kohm", "MOhm": "Mohm", "S/m": "S/m", "mS/cm": "mS/cm", "uS/cm": "uS/cm",
    "W": "W", "kW": "kW",
}  # fmt: skip
NOT_ASKED = {
    "%{RH}",
    "%{sat}",
    "mm[Hg]",
    "[pH]",
    "{#}",
    "[CFU]",
    "[CFU]/m3",
    "L{std}/min",
    "mL{std}/min",
    "{rev}/min",
    "1",
}

CONVERTIBLE = {kind: [c for c in PINT if UNITS[c].kind == kind] for kind in KINDS}


@pytest.fixture(scope="module")
def registry() -> pint.UnitRegistry:
    return pint.UnitRegistry(non_int_type=Fraction, autoconvert_offset_to_baseunit=True)


def test_every_code_is_checked_against_pint_or_excused() -> None:
    assert set(PINT) | NOT_ASKED == set(UNITS)
    assert not set(PINT) & NOT_ASKED


@pytest.mark.parametrize("kind", [kind for kind, codes in CONVERTIBLE.items() if len(codes) > 1])
def test_conversion_agrees_with_pint(registry: pint.UnitRegistry, kind: str) -> None:
    for source, target in itertools.permutations(CONVERTIBLE[kind], 2):
        scale, offset = linear(source, target)
        for value in (-40.0, 0.0, 37.5):
            expected = float(registry.Quantity(Fraction(value), PINT[source]).to(PINT[target]).magnitude)
            near = pytest.approx(expected, rel=1e-12, abs=abs(offset) * 1e-14)
            assert value * scale + offset == near, f"{value} {source} in {target}"


def test_cubic_foot_is_a_foot_cubed_and_not_a_centifoot() -> None:
    assert exact("[cft_i]", "L")[0] == Fraction("28.316846592")
    # One particle in a sample of one cubic foot: above the grade A limit of 29 per cubic metre.
    assert linear("{#}/[cft_i]", "{#}/m3") == (pytest.approx(35.31466672148859, rel=1e-15), 0.0)


@pytest.mark.parametrize(
    ("source", "value", "target", "expected"),
    [
        ("[degF]", Fraction(-40), "Cel", Fraction(-40)),
        ("[degF]", Fraction("98.6"), "Cel", Fraction(37)),
        ("Cel", Fraction("-273.15"), "K", Fraction(0)),
        ("[ppm]{CO2}", Fraction(50000), "%{CO2}", Fraction(5)),
        ("mm[Hg]", Fraction(760), "Pa", Fraction("101324.72")),
        ("[in_i'H2O]", Fraction(1), "Pa", Fraction("249.08891")),
        ("mg/L", Fraction(8), "g/m3", Fraction(8)),
        ("uS/cm", Fraction(1000), "mS/cm", Fraction(1)),
        ("{#}/L", Fraction("3.52"), "{#}/m3", Fraction(3520)),
    ],
)
def test_known_values_are_exact(source: str, value: Fraction, target: str, expected: Fraction) -> None:
    scale, offset = exact(source, target)
    assert value * scale + offset == expected


def test_conversion_there_and_back_is_exact() -> None:
    for a in UNITS.values():
        for b in UNITS.values():
            if a.kind != b.kind:
                continue
            (scale, offset), (back, back_offset) = exact(a.code, b.code), exact(b.code, a.code)
            assert scale * back == 1
            assert offset * back + back_offset == 0


def test_delta_has_no_offset() -> None:
    assert delta_scale("[degF]", "Cel") == 5 / 9
    assert delta_scale("Cel", "K") == 1.0
    assert linear("Cel{delta}", "[degF]{delta}") == (1.8, 0.0)


def test_other_kinds_do_not_convert() -> None:
    for a, b in [
        ("%{RH}", "%{CO2}"),
        ("%", "%{RH}"),
        ("Cel", "Cel{delta}"),
        ("L/min", "L{std}/min"),
        ("[ppm]", "[ppm]{CO2}"),
    ]:
        with pytest.raises(
            IncompatibleUnits, match=re.escape(f"{a} ({UNITS[a].kind}) does not convert to {b} ({UNITS[b].kind})")
        ):
            linear(a, b)
        with pytest.raises(IncompatibleUnits):
            delta_scale(b, a)


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ("°C", "Cel"), ("C", "Cel"), ("degC", "Cel"), ("cel", "Cel"), ("ppm", "[ppm]{CO2}"),
        ("%RH", "%{RH}"), ("%rh", "%{RH}"),
        ("pH", "[pH]"), ("rpm", "{rev}/min"), ("cfm", "[cft_i]/min"), ("#/m3", "{#}/m3"), ("/ft³", "{#}/[cft_i]"),
        ("pa", "Pa"), ("mBar", "mbar"), ("L/Min", "L/min"), ("%CO2", "%{CO2}"), ("µS/cm", "uS/cm"),
        ("{#}/[cft]", "{#}/[cft_i]"),
    ],
)  # fmt: skip
def test_an_unknown_unit_names_the_likeliest(wrong: str, first: str) -> None:
    with pytest.raises(UnknownUnit) as caught:
        unit(wrong)
    assert caught.value.suggestions[0] == first
    assert f"did you mean {first}" in str(caught.value)


def test_an_unknown_unit_without_likeness_suggests_nothing() -> None:
    with pytest.raises(UnknownUnit, match=r"^unknown unit 'furlong/fortnight'$"):
        unit("furlong/fortnight")


def test_table_is_sound() -> None:
    assert 60 <= len(UNITS) <= 110
    assert {row.kind for row in UNITS.values()} == set(KINDS)
    assert all(row.factor > 0 for row in UNITS.values())
    assert all(code.isascii() and not re.search(r"\s", code) for code in UNITS)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind) for kind in KINDS)
    # One code per quantity and factor, else one thing would have two names in the store (equal SI values excepted).
    same = Counter((row.kind, row.factor, row.offset) for row in UNITS.values())
    twice = {row.code for row in UNITS.values() if same[row.kind, row.factor, row.offset] > 1}
    assert twice == {"hPa", "mbar", "mg/L", "g/m3", "ug/L", "mg/m3", "K{delta}", "Cel{delta}"}
    # Within a kind no two units look the same to a reader.
    looks = Counter((row.kind, row.symbol) for row in UNITS.values())
    assert all(n == 1 for n in looks.values())
