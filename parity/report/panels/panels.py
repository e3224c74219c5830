"""Everything that a page shows beside the record of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.engine.record import Run
from parity.report.panels.accuracy import Accuracy, accuracy
from parity.report.panels.changes import Changes
from parity.report.panels.conclusion import Conclusion, conclusions
from parity.report.panels.epsilon_map import EpsilonMap, epsilon_maps
from parity.report.panels.heat import HeatMap, heat_map
from parity.report.panels.view import PairViews, read_views


@dataclass(frozen=True, slots=True)
class Panels:
    """What a page shows, section by section; views: by pair; changes: of documents that are shown with the run."""

    conclusions: tuple[Conclusion, ...]
    heat: HeatMap
    views: dict[tuple[str, str], PairViews]
    epsilon: tuple[EpsilonMap, ...]
    accuracy: Accuracy
    changes: tuple[Changes, ...] = ()


def read_panels(run: Run, folder: Path, changes: tuple[Changes, ...] = ()) -> Panels:
    """From a run and its directory; ParityError where a file of it is missing, altered or of another schema."""
    views = read_views(run, folder)
    return Panels(conclusions(run, views), heat_map(run), views, epsilon_maps(), accuracy(run), changes)
