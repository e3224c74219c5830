"""The script that starts a process of any interpreter: this parity becomes importable there, and nothing beside it.

On PYTHONPATH, the folder in which parity is installed would bring all its neighbours, frameworks of other versions too.
"""

import importlib.util
import runpy
import sys
from pathlib import Path


def main(module: str) -> None:
    """Run a module of the parity that this file belongs to as `__main__`."""
    package = Path(__file__).resolve().parent.parent
    # The folder of a script is searched first, and this one has modules with common names.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]
    spec = importlib.util.spec_from_file_location(
        "parity", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["parity"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["parity"])
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
