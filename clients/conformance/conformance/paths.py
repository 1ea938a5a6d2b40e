"""Paths of the suite's own files."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
PROTO = FOLDER.parent.parent / "proto"
SCENARIOS = FOLDER / "scenarios.yaml"
INTEROP = FOLDER / "interop.yaml"
VECTORS = FOLDER / "vectors.json"
