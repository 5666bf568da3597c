"""The devices that one driver file describes, one by one: each choice of each parameter, for checks and for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.given import ANY, ParamValue, settle


def variants(file: grammar.DriverFile) -> Iterator[dict[str, ParamValue]]:
    """Parameters of the plain device, of one with every example, of one for each choice of each parameter, of variants,
    and of the devices whose bytes the examples show.

    Choices are not combined with one another: the parts of a file that they switch are independent.
    """
    plain: dict[str, ParamValue] = {}
    for name, param in file.params.items():
        if param.default is not None:
            plain[name] = param.default
        elif param.required:
            value = param.choices[0] if param.choices else param.example
            assert value is not None
            plain[name] = value
    yield plain
    examples = {name: p.example for name, p in file.params.items() if p.example is not None and name not in plain}
    if examples:
        plain = {**plain, **examples}
        yield plain
    for name, param in file.params.items():
        choices = param.choices or ([False, True] if param.type == "switch" else [])
        for choice in choices:
            if plain.get(name) != choice:
                yield {**plain, name: choice}
    for variant in file.identity.variants if file.identity is not None else ():
        if variant.params:
            yield {**plain, **variant.params}
    seen: list[Mapping[str, ParamValue]] = []
    for example in file.examples:
        if example.params and example.params not in seen:
            seen.append(example.params)
            with suppress(ValueError):  # told with the example
                yield settle(file.params, example.params)


def some_address(file: grammar.DriverFile) -> int | str:
    """An address that a device of the file may have: the default where it names one."""
    if file.address is None:
        return 1
    if file.address.default is not None:
        return file.address.default
    return "1" if file.address.from_ is None else file.address.from_


def exclusive(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> bool:
    """Whether no device has both parts: some parameter would need two values."""
    for name, wanted in (a or {}).items():
        other = (b or {}).get(name)
        if other is not None and ANY not in (wanted, other) and not set(_list(wanted)) & set(_list(other)):
            return True
    return False


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
