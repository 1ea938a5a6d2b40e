"""Checks the contents of the wheel and of the source distribution: `wheel.py FOLDER`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,) = folder.glob("twintier-*.whl")
(source,) = folder.glob("twintier-*.tar.gz")
with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    (license_name,) = [name for name in names if name.endswith("licenses/LICENSE")]
    assert b"Apache License" in archive.read(license_name)
    (metadata,) = [name for name in names if name.endswith("METADATA")]
    assert b"License-Expression: Apache-2.0" in archive.read(metadata)
modules = [name for name in names if ".dist-info/" not in name]
assert all(name.startswith("twintier/") for name in modules), modules
for name in ("py.typed", "__init__.py", "django.py", "v1/cache_pb2.py", "v1/cache_pb2.pyi"):
    assert f"twintier/{name}" in modules, name
with tarfile.open(source) as archive:
    packed = [name.partition("/")[2] for name in archive.getnames()]
for name in ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "src/twintier/py.typed"):
    assert name in packed, name
