"""Site files for a watch alone, and its memory on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labmon.acquisition.load import Loaded, load

SHORT = {"silent-after": "900 ms", "offline-after": "200 ms", "ingest-after": "1 s", "path": "watch/journal.db"}


def site(folder: Path, mail: int, broker: int = 1, **parts: Any) -> Loaded:
    """A small file for a watch over gw-1 and gw-2 of the site lab, which tells On Duty by mail."""
    more = parts.pop("watch", {})
    watch = None if more is None else SHORT | {"gateways": ["gw-1", "gw-2"]} | more
    data: dict[str, Any] = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "tower"},
        "areas": [],
        "lines": [],
        "mqtt": {"host": "127.0.0.1", "port": broker, "status-every": "300 ms"},
        "notices": {
            "channels": [
                {
                    "id": "mail",
                    "email": {"host": "127.0.0.1", "port": mail, "tls": "none", "from": "watch@lab.example"},
                }
            ],
            "people": [{"id": "duty", "name": "On Duty", "email": "duty@lab.example"}],
            "routes": [{"classes": ["action", "technical"], "to": ["duty"], "by": ["mail"]}],
        },
        "watch": watch,
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps({k: v for k, v in (data | parts).items() if v is not None}, indent=1))
    loaded = load(path)
    assert not loaded.errors, loaded.errors
    return loaded
