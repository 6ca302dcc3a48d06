"""What a schedule will give, before its steps are spent: laws of the loss curve, fitted to runs that were made."""

from .forecast import Comparison, Forecast, Optimized
from .law import Law, fit_law

__all__ = ["Comparison", "Forecast", "Law", "Optimized", "fit_law"]
