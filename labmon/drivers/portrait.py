"""One driver file in words and numbers: what is asked, what comes of it, and what it costs the line."""

from __future__ import annotations

from typing import Any

from labmon import units
from labmon.drivers import grammar, records, telling
from labmon.drivers.branches import unshown
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.given import Ref, applies
from labmon.drivers.listing import origins, seen, transports
from labmon.drivers.setting import Setting
from labmon.drivers.variants import some_address, variants
from labmon.drivers.wire_time import endpoint_of, wire_time


def portrait(driver: CompiledDriver) -> dict[str, Any]:
    """Everything about a driver that a person asks for, as JSON can hold it. Times in seconds."""
    file = driver.file
    plain = Setting(file, driver.framings[0], some_address(file), next(variants(file)))
    return {
        "id": driver.id,
        "title": file.title,
        "maker": file.maker,
        "models": file.models,
        "class": file.class_,
        "manual": file.manual.model_dump(exclude_none=True),
        "faults": file.faults,
        "framings": list(driver.framings),
        "transports": list(transports(driver)),
        "serial": _serial(driver),
        "address": file.address.model_dump(by_alias=True, exclude_none=True) if file.address else None,
        "params": {
            name: param.model_dump(exclude_none=True) | {"required": param.required}
            for name, param in file.params.items()
        },
        "single-reader": file.single_reader,
        "writes": [telling.allowed_write(write) for write in file.writes],
        "identity": _identity(file.identity),
        "guard": _guard(file.guard),
        "clock": _clock(file.clock),
        "queries": [_query(driver, name, query, plain) for name, query in file.queries.items()],
        "proven": driver.proven,
        "seen": seen(driver),
        "examples": origins(driver),
        "not-shown": len(unshown(driver)),
    }


def _serial(driver: CompiledDriver) -> str | None:
    if driver.file.serial is None:
        return None
    said = str(endpoint_of(driver.serial)).strip() + (" rtscts" if driver.serial.rtscts else "")
    return said if driver.serial.known else f"{said.partition(' ')[2]} at a speed that the manual does not tell"


def _identity(identity: grammar.Identity | None) -> dict[str, Any] | None:
    if identity is None:
        return None
    return {
        "requests": [_request(one) for one in identity.requests],
        "shows": identity.show,
        "expects": {name: telling.given(pattern) for name, pattern in identity.expect.items()},
        "wrong-when": [telling.condition(one) for one in identity.wrong_when],
        "self-test": {test.field: test.near if test.is_ is None else test.is_ for test in identity.self_test},
        "variants": [variant.name for variant in identity.variants],
    }


def _guard(guard: grammar.Guard | None) -> dict[str, Any] | None:
    if guard is None:
        return None
    return {
        "every": guard.every,
        "requests": [_request(one) for one in guard.requests],
        "watches": guard.watch,
        "expects": [telling.condition(one) for one in guard.expect],
        "when": telling.when(guard.when),
    }


def _clock(clock: grammar.Clock | None) -> dict[str, Any] | None:
    if clock is None:
        return None
    return {
        "every": clock.every,
        "requests": [_request(one) for one in clock.requests],
        "at-most": clock.at_most,
        "can-be-set": clock.set_ is not None,
        "when": telling.when(clock.when),
    }


def _query(driver: CompiledDriver, name: str, query: grammar.Query, plain: Setting) -> dict[str, Any]:
    wire = None
    if applies(query.when, plain.params):
        wire = wire_time(driver, driver.query(name, plain), plain.framing)
    seconds = wire.seconds if wire is not None else None
    return {
        "query": name,
        "kind": query.kind,
        "every": query.every,
        "silence": None if query.kind != "stream" else query.silence or 3 * query.every,
        "doc": query.doc,
        "when": telling.when(query.when),
        "requests": [_request(one) for one in records.asked(query, plain)[0]],
        "records": _records(query.record),
        "bytes": wire.bytes if wire is not None else None,
        "wire-time": None if seconds is None else round(seconds, 6),
        "line-share": None if seconds is None else round(seconds / query.every, 6),
        "channels": [_channel(channel, driver.file) for channel in query.channels],
    }


def _records(record: grammar.Record | None) -> dict[str, Any] | None:
    """How stored samples are read, in words."""
    if record is None:
        return None
    way = "only the latest can be read"
    if record.index is not None:
        way = "each by its index"
    elif record.queue is not None:
        way = f"oldest first; {telling.request(record.queue.pop)}, when it is on labmon's disk"
    elif record.logger is not None:
        way = "block by block from the logger, the next one when the one before is on labmon's disk"
    return {
        "way": way,
        "key": record.key,
        "at-most": record.at_most,
        "there-when": [telling.condition(one) for one in record.present_when],
    }


def _request(one: grammar.Request) -> dict[str, Any]:
    return {"what": telling.request(one), "effect": one.effect, "when": telling.when(one.when)}


def _channel(channel: grammar.Channel, file: grammar.DriverFile) -> dict[str, Any]:
    codes = [channel.unit]
    if isinstance(channel.unit, Ref):
        param = file.params[channel.unit.param]
        given = param.choices or ([param.default] if param.default is not None else [])
        codes = [str(choice) for choice in given]
    unit = units.unit(str(codes[0])) if codes else None
    return {
        "id": channel.id,
        "name": channel.name,
        "units": codes,
        "symbol": unit.symbol if unit is not None else None,
        "kind": unit.kind if unit is not None else None,
        "unit-param": channel.unit.param if isinstance(channel.unit, Ref) else None,
        "decimals": channel.decimals,
        "particle-size": channel.particle_size,
        "range": channel.range,
        "states": None if channel.states is None else {str(number): name for number, name in channel.states.items()},
        "computed": channel.compute is not None,
        "when": telling.when(channel.when),
    }
