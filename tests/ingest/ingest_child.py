"""`python ingest_child.py SITE.json [STORE]`: run_ingest as a process of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from labmon.config.site import Site
from labmon.ingest.process import run_ingest

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    site = Site.model_validate(json.loads(Path(sys.argv[1]).read_text()))
    asyncio.run(run_ingest(site, *sys.argv[2:3], folder=Path(sys.argv[1]).parent))
