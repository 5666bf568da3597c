"""Which variant a simulated instrument is, and what it says of itself so that this variant is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import WrongInstrument
from labmon.drivers.given import applies
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.values import meeting
from labmon.links.errors import LinkError
from labmon.model.reading import Raw
from labmon.simulate.raws import completed, shown


def identified(
    driver: CompiledDriver, identity: CompiledIdentity, params: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[dict[str, Raw], list[bytes], Mapping[str, Any]]:
    """Raw values of its identity, payloads that show their form, and the parameters of the variant that it is.

    The variant is the first of those with the most of the parameters `given`, and with none otherwise; where several
    are alike, the one that the examples show. Without a variant that fits it is the one of the examples, which is then
    the wrong instrument.
    """
    raws, payloads = shown(driver, "identity", identity, given)
    raws = completed(identity.steps, raws)
    said = driver.file.identity
    for test in said.self_test if said is not None else ():
        if test.field in identity.fields:
            raws[test.field] = test.near if test.is_ is None else test.is_
    if said is None or not said.variants:
        return raws, payloads, {}
    own = _variant(identity, raws)
    fitting = [v for v in said.variants if all(given.get(name, value) == value for name, value in v.params.items())]
    ranked = sorted(fitting, key=lambda v: (-len(v.params.keys() & given.keys()), v.name != own))
    fields = {f.name: f for step in identity.steps for f in step.fields}
    for variant in ranked:
        if variant.name == own:
            return raws, payloads, variant.params
        try:
            told = meeting([c for c in variant.when if applies(c.when, params)], fields, params, raws)
        except ValueError:
            continue
        if _variant(identity, told) == variant.name:
            return told, payloads, variant.params
    return raws, payloads, {}


def _variant(identity: CompiledIdentity, raws: Mapping[str, Raw]) -> str | None:
    """The name of the variant that these raw values choose, read as labmon reads them; None for none."""
    try:
        return identity.decode(identity.encode(raws)).variant
    except (LinkError, WrongInstrument, ValueError):
        return None
