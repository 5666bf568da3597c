"""TCP lines. While the daemon runs its word is taken: some converters serve one connection, which it has."""

from __future__ import annotations

from collections.abc import Iterator

from labmon.doctor.case import PATIENCE, Case
from labmon.doctor.finding import Finding, fault, ok
from labmon.doctor.network import connect, why
from labmon.links.endpoint import TcpEndpoint


def endpoints(case: Case) -> Iterator[Finding]:
    """Each endpoint of the site file."""
    for line in case.lines:
        if isinstance(line.endpoint, TcpEndpoint):
            yield _endpoint(case, line.id, line.endpoint)


def _endpoint(case: Case, line: str, endpoint: TcpEndpoint) -> Finding:
    row = case.line_status(line)
    if row is not None and row["state"] == "open":
        return ok(f"line {line}: {endpoint} is open, the daemon says")
    if row is not None:
        return fault(
            f"line {line}: the daemon says: {row['detail']}",
            "check the converter, its cable and address, and whether another client holds its only connection",
        )
    try:
        connect(endpoint.host, endpoint.port, PATIENCE)
    except OSError as error:
        what, remedy = why(error)
        return fault(f"line {line}: {endpoint}: {what}", remedy)
    return ok(f"line {line}: {endpoint} takes a connection")
