"""Fixed-point numbers as the chain stores them: UFixedPoint123x128, one Starknet field element.

A felt holds 123 bits of integer and 128 bits of fraction, so that the number ``x`` is the integer
``floor(x * 2**128)``. The arithmetic is on Python integers and exact.
"""

FRACTION_BITS = 128
ONE = 1 << FRACTION_BITS
MAX_FELT = (1 << 251) - 1


def felt_from_ratio(numerator: int, denominator: int) -> int:
    """Return ``floor(numerator / denominator * 2**128)``.

    Raises:
        ValueError: The number is negative or needs more than 123 bits of integer.
        ZeroDivisionError: ``denominator`` is zero.
    """
    return _checked((numerator << FRACTION_BITS) // denominator)


def felt_from_float(value: float) -> int:
    """Return ``floor(value * 2**128)``, exactly.

    Raises:
        ValueError: The number is negative, not finite, or needs more than 123 bits of integer.
    """
    try:
        numerator, denominator = value.as_integer_ratio()
    except OverflowError:
        raise ValueError(f"{value} has no fixed-point form") from None
    return felt_from_ratio(numerator, denominator)


def float_from_felt(felt: int) -> float:
    """Return the double nearest to ``felt / 2**128``."""
    return felt / ONE


def felt_hex(felt: int) -> str:
    """Return the felt as the chain writes it: ``0x`` and 64 lower-case hex digits."""
    return f"0x{_checked(felt):064x}"


def _checked(felt: int) -> int:
    if not 0 <= felt <= MAX_FELT:
        raise ValueError("a felt holds numbers from 0 up to 2**123")
    return felt
