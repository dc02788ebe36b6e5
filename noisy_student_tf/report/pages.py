"""Renders the templates beside it into pages that need nothing else."""

import decimal
import os

import jinja2

_TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")


def render(template: str, **contents: object) -> str:
    """Return a page.

    Args:
        template: Its file's name.
        **contents: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=_percent,
        count=_count,
        points=points,
        signed=_signed,
        number=_number,
        confidence=_confidence,
    )
    return environment.get_template(template).render(contents)


def _percent(share: float | None, digits: int = 1) -> str:
    # A narrow space that does not break.
    return "\u2013" if share is None else f"{100 * share:.{digits}f}\u202f%"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def points(value: float) -> str:
    """Return a signed number of percentage points."""
    return _signed(value, digits=1)


def _signed(value: float, digits: int = 3) -> str:
    text = f"{value:+.{digits}f}"
    if not float(text):
        # What is rounded to nothing has no direction.
        return text[1:]
    return text.replace("-", "\u2212")


def _number(value: float | None, digits: int = 3) -> str:
    return "\u2013" if value is None else f"{value:.{digits}f}"


def _confidence(value: float, digits: int = 3) -> str:
    """Round down: no image shall seem to reach a threshold it is below."""
    unit = decimal.Decimal(1).scaleb(-digits)
    return str(decimal.Decimal(str(value)).quantize(unit, decimal.ROUND_DOWN))
