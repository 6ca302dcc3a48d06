"""What a schedule will give, before its steps are spent: laws of the loss curve, fitted to runs that were made."""

from .forecast import Comparison, Forecast, Optimized
from .from_runs import fit_law
from .law import Law

__all__ = ["Comparison", "Forecast", "Law", "Optimized", "fit_law"]
