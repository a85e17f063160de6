"""Numbers and intervals as the page writes them, and where ticks go: a twin of `page/src/ui/numbers.ts`."""

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _minus(text: str) -> str:
    return text.replace("-", "−", 1)


def count(n: float) -> str:
    """A count with commas.

    >>> count(12345.6)
    '12,346'
    """
    return _minus(f"{round(n):,}")


def power_of_ten(n: int) -> str:
    """10ⁿ.

    >>> power_of_ten(-12)
    '10⁻¹²'
    """
    return "10" + str(n).translate(SUPERSCRIPTS)


def decimal(v: float, digits: int = 3) -> str:
    """A number with this many significant digits, in powers of ten where it is very large or small.

    >>> decimal(0.0640), decimal(3.5e-18), decimal(1234.5), decimal(math.nan), decimal(-math.inf)
    ('0.0640', '3.5 × 10⁻¹⁸', '1,234', '—', '−∞')
    """
    if math.isnan(v):
        return "—"
    if math.isinf(v):
        return "∞" if v > 0 else "−∞"
    if v == 0:
        return "0"
    exponent = math.floor(math.log10(abs(v)))
    if exponent >= digits + 1 or exponent < -4:
        return _minus(f"{_precise(_mantissa(v, exponent), max(1, digits - 1))} × {power_of_ten(exponent)}")
    return _minus(f"{round(v):,}" if exponent >= digits else _precise(v, digits))


def _mantissa(v: float, exponent: int) -> float:
    """v ÷ 10^exponent, also where that power is no float, as for the least numbers.

    >>> round(_mantissa(5e-324, -324), 2), _mantissa(0.25, -1)
    (4.94, 2.5)
    """
    return v / 10.0**exponent if exponent > -300 else v * 1e300 / 10.0 ** (exponent + 300)


def _precise(v: float, digits: int) -> str:
    """This many significant digits, trailing zeros included."""
    return f"{v:#.{digits}g}".rstrip(".")


def short(v: float, digits: int = 3) -> str:
    """A number without trailing zeros, for settings and ticks.

    >>> short(0.5), short(-1200.0), short(1e-5), short(2.5e7), short(0.0)
    ('0.5', '−1,200', '10⁻⁵', '2.5 × 10⁷', '0')
    """
    size = abs(v)
    if not math.isfinite(v):
        return decimal(v)
    if v != 0 and (size >= 1e6 or size < 1e-4):
        exponent = math.floor(math.log10(size) + 1e-9)
        mantissa = float(f"{_mantissa(v, exponent):.{digits}g}")
        front = {1.0: "", -1.0: "-"}.get(mantissa, f"{mantissa:g} × ")
        return _minus(front + power_of_ten(exponent))
    value = float(f"{v:.{max(4, digits) if size >= 1000 else digits}g}")
    return _minus(f"{value:,.10g}" if size >= 1000 else f"{value:.10g}")


def two_digits(v: float) -> str:
    """A number with two significant digits, trailing zeros included.

    >>> two_digits(0.0801), two_digits(1234.5), two_digits(3.46e-9), two_digits(0.0), two_digits(-0.0502)
    ('0.080', '1,200', '3.5 × 10⁻⁹', '0', '−0.050')
    """
    if not math.isfinite(v) or v == 0:
        return decimal(v)
    value = float(f"{v:.1e}")
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if not -5 < exponent < 6:
        return _minus(f"{_mantissa(value, exponent):.1f} × {power_of_ten(exponent)}")
    return _minus(f"{value:,.{max(0, 1 - exponent)}f}")


def tick_text(v: float, log: bool) -> str:
    """A tick's number: on a logarithmic axis small and large powers of ten are written as such.

    >>> tick_text(1e-4, True), tick_text(1e-4, False), tick_text(0.0, False)
    ('10⁻⁴', '0.0001', '0')
    """
    if not log or v == 0:
        return short(v)
    exponent = round(math.log10(abs(v)))
    is_power = abs(_mantissa(v, exponent) - 1) < 1e-9
    return power_of_ten(exponent) if is_power and (exponent < -3 or exponent > 3) else short(v)


def significant(v: float, digits: int = 2) -> str:
    """A number with this many significant digits at most, without trailing zeros; large ones too.

    >>> significant(1148.4), significant(9.4), significant(0.0500)
    ('1,100', '9.4', '0.05')
    """
    return short(float(f"{v:.{digits}g}")) if math.isfinite(v) else short(v)


def between(lo: float, hi: float) -> str:
    """An interval by its ends.

    >>> between(1904, math.inf)
    '1,900 – ∞'
    """
    return f"{significant(lo)} – {significant(hi)}"


def with_interval(value: float, lo: float, hi: float) -> str:
    """A value and its interval: as ± where the interval is symmetric. The error has two digits, the value no more.

    >>> with_interval(412, 406, 418), with_interval(2250, 1900, 2700), with_interval(0.0363, -0.0397, 0.1123)
    ('412 ± 6', '1,900 – 2,700', '0.036 ± 0.076')
    """
    if not hi > lo:
        return short(value)
    half = (hi - lo) / 2
    if not abs(value - lo - half) < 0.05 * half:
        return between(lo, hi)
    error = float(f"{half:.2g}")
    place = math.floor(math.log10(error) + 1e-9)
    decimals = -place if error == float(f"{half:.1g}") else 1 - place
    return f"{short(round(value, decimals), 6)} ± {short(error)}"


def linear_ticks(lo: float, hi: float, about: int) -> list[float]:
    """About this many round numbers from lo to hi.

    >>> linear_ticks(-1.0, 1.0, 5)
    [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    if not hi > lo:
        return [lo]
    raw = (hi - lo) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999 or m == 10)
    first, last = math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(lo: float, hi: float, about: int) -> list[float]:
    """Powers of ten from lo to hi, thinned to about this many; 1, 3, 10 where there are few.

    >>> log_ticks(0.2, 9.0, 5)
    [0.3, 1.0, 3.0]
    """
    first, last = math.ceil(math.log10(lo) - 1e-9), math.floor(math.log10(hi) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / about))
    powers = [10.0**e for e in range(first, last + 1) if e % stride == 0]
    if len(powers) > 2 or (len(powers) == 2 and hi / lo > 300) or hi / lo < 1.01:
        return powers
    fine = [float(f"{m}e{e}") for e in range(first - 1, last + 1) for m in (1, 3)]
    inside = [v for v in fine if lo <= v <= hi]
    return inside if len(inside) > 1 else linear_ticks(lo, hi, about)
