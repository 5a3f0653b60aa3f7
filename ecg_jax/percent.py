"""Shares as text: never 100% unless it is all, nor 0% unless it is none."""

MOST_DIGITS = 3


def share(value: float, digits: int = 1) -> str:
    """Write a share in per cent, with as many digits as tell it from none and all.

    Not a number, the share of nothing, is a dash.

    Example:
        >>> share(0.41493), share(0.9997), share(1.0), share(1e-9), share(0.997, 0)
        ('41.5%', '99.97%', '100%', '<0.001%', '99.7%')
    """
    if value != value:
        return "\N{EM DASH}"
    if value in (0, 1):
        return f"{100 * value:.0f}%"
    for more in range(digits, MOST_DIGITS + 1):
        text = f"{100 * value:.{more}f}"
        if 0 < float(text) < 100:
            return f"{text}%"
    return ">99.999%" if value > 0.5 else "<0.001%"


def percent(share: float) -> str:
    """Write a share in whole per cent, as a sentence has it.

    Example:
        >>> percent(.4149), percent(.9996), percent(.005), percent(1.)
        ('41%', '>99%', '<1%', '100%')
    """
    if 0 < share <= 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"
