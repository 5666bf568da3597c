"""What `labmon doctor` found, as a page for people: each finding with its remedy below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from labmon.cli.paper import printable
from labmon.cli.words import many
from labmon.doctor.finding import Finding, Level

_MARKS = {
    Level.OK: (" ok      ", "green"),
    Level.UNKNOWN: (" unknown ", "black on white"),
    Level.WARNING: (" WARNING ", "black on yellow"),
    Level.FAULT: (" FAULT   ", "bold white on red"),
}


def prescription(findings: Sequence[Finding], *, everything: bool) -> Iterator[Text]:
    """Line by line; a check whose findings are all well takes one line, unless `everything` is wanted."""
    wide = max((len(finding.check) for finding in findings), default=0)
    for check, found in _by_check(findings):
        troubles = [finding for finding in found if finding.level is not Level.OK]
        well = [finding for finding in found if finding.level is Level.OK]
        if everything or not troubles:
            shown = [*troubles, *well] if everything or len(well) < 2 else [_together(check, well)]
        else:
            shown = troubles
        for number, finding in enumerate(shown):
            mark, style = _MARKS[finding.level]
            name = check if number == 0 else ""
            yield Text.assemble((f"{name:{wide}}  ", "bold"), (mark, style), f" {printable(finding.what)}")
            if finding.remedy:
                yield Text.assemble(" " * (wide + 12), ("-> ", "dim"), (printable(finding.remedy), "bold"))
    counts = Counter(finding.level for finding in findings)
    yield Text()
    yield Text(
        f"{many(counts[Level.FAULT], 'fault')}, {many(counts[Level.WARNING], 'warning')}, "
        f"{counts[Level.UNKNOWN]} not known, {counts[Level.OK]} ok" + ("" if everything else " (--all shows each)"),
        style="bold",
    )


def _by_check(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    names = list(dict.fromkeys(finding.check for finding in findings))
    for name in names:
        yield name, [finding for finding in findings if finding.check == name]


def _together(check: str, well: Sequence[Finding]) -> Finding:
    return Finding(Level.OK, f"{well[0].what}, and {len(well) - 1} more", check=check)
