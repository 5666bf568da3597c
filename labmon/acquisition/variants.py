"""A device as one of its driver's variants: the same channels, asked and read with other parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labmon.drivers.driver import ChannelSpec, Query
from labmon.model.exchange import Column, Layout

if TYPE_CHECKING:
    from labmon.acquisition.plan import DevicePlan, QueryPlan


def variant_plans(base: DevicePlan, framing: str) -> dict[str, DevicePlan]:
    """The plan of a device for each variant that it can be, by name.

    One that contradicts a parameter of the site file is left out: the identity refuses it. Raises ValueError where a
    variant does not fit the device, or would have other channels.
    """
    decided: Mapping[str, Mapping[str, Any]] = base.identity.variants if base.identity is not None else {}
    plans = {}
    for name, params in decided.items():
        if any(base.params.get(key, value) != value for key, value in params.items()):
            continue
        given = {**base.params, **params}
        driver = base.driver
        queries = {query.name: query for query in driver.queries(framing, base.address, given)}
        plans[name] = replace(
            base,
            queries=tuple(_query(name, plan, queries) for plan in base.queries),
            guard=driver.guard(framing, base.address, given),
            clock=driver.clock(framing, base.address, given),
        )
    return plans


def _query(variant: str, plan: QueryPlan, queries: Mapping[str, Query]) -> QueryPlan:
    query = queries.get(plan.query.name)
    if query is None or _same(query) != _same(plan.query):
        raise ValueError(f"variant {variant} would have other channels in query {plan.query.name}")
    columns = [
        _column(column, query.channels[slot.index], slot.scale, slot.offset)
        for column, slot in zip(plan.layout.columns, plan.slots, strict=True)
    ]
    # The slots are shared: that a calibration becomes overdue holds for all variants.
    return replace(plan, query=query, layout=Layout(plan.layout.query, tuple(columns)))


def _same(query: Query) -> Sequence[tuple[str, str, str]]:
    return [(query.kind, spec.id, spec.unit) for spec in query.channels]


def _column(column: Column, spec: ChannelSpec, scale: float, offset: float) -> Column:
    raw_scale, raw_offset = column_scaling(spec, scale, offset)
    return replace(column, raw_type=spec.raw_type, scale=raw_scale, offset=raw_offset)


def column_scaling(spec: ChannelSpec, scale: float, offset: float) -> tuple[float, float]:
    """From a raw value to what is recorded, where the site's unit and calibration make value * scale + offset."""
    if scale == 1.0 and offset == 0.0:
        return spec.scale, spec.offset
    return spec.scale * scale, spec.offset * scale + offset
