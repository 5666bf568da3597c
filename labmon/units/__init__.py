"""Units: a closed table of UCUM codes with exact factors; an unknown unit is an error."""
