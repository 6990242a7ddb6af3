"""What can be wrong with a request for a reserve price.

    ReservePriceError (a ProofError and a ValueError)
    |-- SeriesTooShortError     fewer hours than the method needs
    |-- InvalidFeeError         a fee without a logarithm
    |-- FlatSeriesError         nothing moves, so nothing can be calibrated
    |-- CalibrationError        no parameters found at which the likelihood is stationary
    |-- BetterCalibrationError  given parameters are stationary but not the most likely
    `-- SimulationError         a seed or a number of paths that cannot be used, or an overflow

All of them are permanent: the same input fails in the same way each time.
"""

from __future__ import annotations

from prover_framework import ProofError


class ReservePriceError(ProofError, ValueError):
    """The reserve price of these fees cannot be computed."""

    code = "reserve_price.error"


class SeriesTooShortError(ReservePriceError):
    """The hourly series has fewer hours than the method needs."""

    code = "reserve_price.series_too_short"

    def __init__(self, hours: int, minimum: int) -> None:
        self.hours = hours
        self.minimum = minimum
        super().__init__(
            f"the hourly series has {hours} hours, the reserve price needs at least {minimum} "
            f"({minimum // 24} days): ask for a longer range"
        )


class InvalidFeeError(ReservePriceError):
    """A base fee that is zero, negative, infinite or not a number, or a series of a wrong shape."""

    code = "reserve_price.invalid_fee"


class FlatSeriesError(ReservePriceError):
    """The series has no movement to calibrate a model of movements on."""

    code = "reserve_price.flat_series"


class CalibrationError(ReservePriceError):
    """The best jump parameters that were found do not minimise the negative log likelihood."""

    code = "reserve_price.calibration"

    def __init__(self, parameter: str, component: float, tolerance: float) -> None:
        self.parameter = parameter
        self.component = component
        self.tolerance = tolerance
        super().__init__(
            f"the calibration is not accepted: the projected gradient of the negative log "
            f"likelihood is {component:.6g} in {parameter}, the limit is {tolerance:g} in absolute "
            "value. The parameters are not at a minimum, so a price made from them would mean "
            "nothing. Usual causes: fees without jumps or with a stretch of equal values (nothing "
            "identifies the jump parameters), or parameters that belong to other fees. Check the "
            "series, or ask for a longer or another range"
        )


class BetterCalibrationError(ReservePriceError):
    """Given jump parameters are stationary, but others make the fees far more likely."""

    code = "reserve_price.better_calibration"

    def __init__(self, excess: float, tolerance: float) -> None:
        self.excess = excess
        self.tolerance = tolerance
        super().__init__(
            f"the given calibration is not accepted: its negative log likelihood is {excess:.6g} "
            f"above that of a calibration found here, the limit is {tolerance:g}. Its gradient is "
            "small, but it is not the minimum (a model without jumps can look like that): use the "
            "parameters that a search finds"
        )


class SimulationError(ReservePriceError):
    """The seed or number of paths is not usable, or a price left the range of floats."""

    code = "reserve_price.simulation"
