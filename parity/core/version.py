"""The version, as the package metadata has it."""

from __future__ import annotations

VERSION = "0.5.0"
