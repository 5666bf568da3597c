"""What `labmon check` says of a site file without errors: what will be polled, delivered and stored."""

from __future__ import annotations

from typing import Any

from labmon.acquisition.load import Loaded
from labmon.config.capacity import capacity
from labmon.config.site import Site


def summary(loaded: Loaded) -> dict[str, Any]:
    """The facts, JSON-ready. Only for a site file without errors."""
    site, plan = loaded.site, loaded.plan
    if site is None or plan is None:
        raise ValueError("a site file with errors has no summary")
    queries = [(len(q.slots), q.every) for line in plan.lines for d in line.devices for q in d.queries]
    held = capacity(queries, site.journal)
    return {
        "site": plan.plant.site,
        "gateway": plan.plant.gateway,
        "lines": [
            {
                "line": line.id,
                "endpoint": str(line.endpoint),
                "framing": line.framing,
                "devices": [
                    {
                        "device": device.id,
                        "driver": device.driver.id,
                        "seen-on-hardware": device.driver.seen_on_hardware,
                        "queries": [
                            {"query": q.query.name, "every": q.every, "channels": [s.key for s in q.slots]}
                            for q in device.queries
                        ],
                    }
                    for device in line.devices
                ],
            }
            for line in plan.lines
        ],
        "channels": len(plan.channels),
        "readings-per-day": round(sum(86400 / every * count for count, every in queries)),
        "alarms": len(loaded.rules),
        "clock-trusted": site.gateway.clock.trusted if site.gateway.clock else None,
        "broker": f"{site.mqtt.host}:{site.mqtt.port}" if site.mqtt else None,
        "stores": [store.id for store in site.stores],
        "notices": [
            {"classes": route.classes, "areas": route.areas, "to": route.to, "by": route.by}
            for route in site.notices.routes
        ],
        "watch": _watch(site),
        "journal-bytes-per-day": round(held.bytes_per_day),
        "journal-size": site.journal.size,
        "outage-days": round(held.days, 1) if held.bytes_per_day else None,
        "keep-days": round(site.journal.keep_readings / 86400, 1),
    }


def _watch(site: Site) -> dict[str, Any] | None:
    """What `labmon watch` would do by this file; None where it says nothing of that."""
    if "watch" not in site.model_fields_set:
        return None
    watch = site.watch
    return {
        "gateways": watch.gateways or [site.gateway.id],
        "silent-after": watch.silent_after,
        "ingest-after": watch.ingest_after,
        "ping-every": watch.ping.every if watch.ping else None,
    }


def text(found: dict[str, Any]) -> str:
    """The same for people."""
    rows = [f"site {found['site']}, gateway {found['gateway']}: no errors", ""]
    for line in found["lines"]:
        rows.append(f"line {line['line']}  {line['endpoint']}  {line['framing']}")
        for device in line["devices"]:
            unseen = "" if device["seen-on-hardware"] else "  (driver not yet seen on hardware)"
            rows.append(f"  {device['device']}  {device['driver']}{unseen}")
            for query in device["queries"]:
                names = ", ".join(key.split(".", 1)[1] for key in query["channels"])
                rows.append(f"    every {query['every']:g} s  {query['query']}: {names}")
    rows += [
        "",
        f"{found['channels']} channels, {found['readings-per-day']:,} readings a day, {found['alarms']} alarms",
        f"delivers to broker {found['broker'] or '(none)'}, stores {', '.join(found['stores']) or '(none)'}",
    ]
    if found["clock-trusted"]:
        rows.append(f"clock trusted, not asked whether it is synchronised: {found['clock-trusted']}")
    for route in found["notices"]:
        where = ", ".join(route["areas"]) if route["areas"] else "all areas"
        ways = f"to {', '.join(route['to'])} by {', '.join(route['by'])}"
        rows.append(f"notices of {', '.join(route['classes'])} in {where}: {ways}")
    if (watch := found["watch"]) is not None:
        ping = f", pings every {watch['ping-every']:g} s" if watch["ping-every"] else ""
        rows.append(
            f"watch over {', '.join(watch['gateways'])}: silent after {watch['silent-after']:g} s, "
            f"ingest after {watch['ingest-after']:g} s{ping}"
        )
    if found["outage-days"] is None:
        return "\n".join([*rows, "journal: no channel is polled, nothing fills it"])
    rows += [
        f"journal {found['journal-bytes-per-day'] / 1e6:,.1f} MB a day of readings; {found['journal-size'] / 1e9:g} GB "
        f"hold {found['outage-days']:,g} days, readings are kept for {found['keep-days']:g} days",
    ]
    return "\n".join(rows)
