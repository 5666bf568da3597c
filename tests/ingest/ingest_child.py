"""`python ingest_child.py SITE.json [STORE]`: run_ingest as a process of its own, secrets read from files."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from labmon.config.site import Site
from labmon.config.types import Secret
from labmon.ingest.process import run_ingest


def read(secret: Secret) -> str:
    assert secret.file is not None
    return Path(secret.file).read_text().strip()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    site = Site.model_validate(json.loads(Path(sys.argv[1]).read_text()))
    asyncio.run(run_ingest(site, *sys.argv[2:3], secret=read))
