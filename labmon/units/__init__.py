"""Units: a closed table of UCUM codes with quantity kind, display symbol and exact factors.

UCUM, the code system of laboratory medicine, is case-sensitive ASCII. Only codes of the table exist: an unknown one is
an error with a suggestion, never a guess. Values are converted once, at normalisation, and only within a quantity kind:
`%{RH}` never becomes `%{CO2}`, though both are percent.
"""

from labmon.units.convert import IncompatibleUnits, delta_scale, exact, linear
from labmon.units.table import KINDS, UNITS, Unit, UnknownUnit, unit

__all__ = ["KINDS", "UNITS", "IncompatibleUnits", "Unit", "UnknownUnit", "delta_scale", "exact", "linear", "unit"]
