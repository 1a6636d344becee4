"""Certificates for the tests, made by OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certificate(folder: Path, name: str = "models.example") -> tuple[Path, Path]:
    """A certificate that nobody signed but its own key, and that key; over what was there."""
    made = [folder / "new.pem", folder / "new-key.pem"]
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    words += ["-addext", f"subjectAltName=DNS:{name}", "-out", str(made[0]), "-keyout", str(made[1])]
    subprocess.run(["openssl", "req", "-x509", *words], check=True, capture_output=True)
    return made[0].replace(folder / "tls.pem"), made[1].replace(folder / "tls-key.pem")
