"""Imports point one way only, and each third-party package has one home (design: Layout)."""

import ast
from pathlib import Path

import labmon

ROOT = Path(labmon.__file__).parent
LAYERS = [
    {"__main__"},
    {"cli"},
    {"daemon", "demo", "doctor", "watch"},
    {"ingest", "simulate", "archive"},
    {"acquisition", "delivery", "notices"},
    {"drivers", "alarms", "journal", "health"},
    {"links", "mqtt", "config"},
    {"units"},
    {"model", "tasks"},
]
HOMES = {"pymodbus": {"links"}, "serial": {"links"}, "paho": {"mqtt"}, "influxdb_client": {"ingest"}}
LEVEL = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_folder(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_folder_has_its_layer() -> None:
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name not in {"__pycache__", "shipped"}}
    assert folders <= set(LEVEL), folders - set(LEVEL)


def test_imports_point_down() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        own = own_folder(path)
        if own == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "labmon" or len(parts) < 2 or parts[1] not in LEVEL or parts[1] == own:
                continue
            if LEVEL[parts[1]] <= LEVEL[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, wrong


def test_third_party_packages_stay_at_home() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in ROOT.rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in HOMES and own_folder(path) not in HOMES[name.split(".")[0]]
    ]
    assert not wrong, wrong
