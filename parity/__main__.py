"""``python -m parity``."""

from __future__ import annotations

from parity.cli.main import main

main()
