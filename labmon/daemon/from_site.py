"""What the site file says that the daemon hands on in another form."""

from __future__ import annotations

from labmon.config.site import Site
from labmon.journal.retention import Retention


def retention(site: Site) -> Retention:
    """How a site keeps its readings."""
    config = site.journal
    return Retention(config.keep_readings, config.size, tuple(f"record.{store.id}" for store in site.stores))


def trusted(site: Site) -> str:
    """Why the site trusts its clock whatever the kernel says of it; empty where it does not."""
    return site.gateway.clock.trusted if site.gateway.clock else ""
