"""Searches as SQL: which commits an expression is true of, decided by the database.

Every expression is true or false of a commit, never unknown: a comparison with a
metric, param or step that is not there is false, and `Not` turns that around. So
each comparison becomes a condition that is never NULL. Both databases give the
same commits; figures are in docs/design/005-index.md.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, false, not_, or_, select, true

from cas.index.rows import MAX_INTEGER
from cas.index.schema import commits, metrics, params
from cas.index.values import index_name, storable
from cas.index.where import AllOf, AnyOf, Comparison, Expression, Field, Not, Operator, Value

__all__ = ["condition"]

_Condition = ColumnElement[bool]

_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
}
_TEXTS: dict[Field, tuple[Column[str], Callable[[str], str]]] = {
    Field.RUN: (commits.c.run, index_name),
    Field.TRIAL: (commits.c.trial, index_name),
    Field.AUTHOR: (commits.c.author, storable),
    Field.MESSAGE: (commits.c.message, storable),
}
_JSON_NULL = "null"


def condition(expression: Expression, sqlite: bool) -> _Condition:
    """The condition on a row of ``commits``.

    Args:
        expression: what to search for.
        sqlite: whether SQLite is to answer it, or PostgreSQL; they match patterns by different words.
    """
    match expression:
        case AllOf(terms):
            return and_(*(condition(term, sqlite) for term in terms))
        case AnyOf(terms):
            return or_(*(condition(term, sqlite) for term in terms))
        case Not(term):
            return not_(condition(term, sqlite))
        case Comparison():
            return _holds(expression, sqlite)


def _holds(comparison: Comparison, sqlite: bool) -> _Condition:
    match comparison.field:
        case Field.METRIC:
            return _has(metrics, comparison, [] if comparison.value is None else [_metric_holds(comparison)])
        case Field.PARAM:
            there = params.c.value_text != _JSON_NULL
            tests = [there] if comparison.value is None else [there, _param_holds(comparison, sqlite)]
            return _has(params, comparison, tests)
        case Field.STEP:
            return _integer_holds(commits.c.step, comparison)
        case Field.TIME:
            return _integer_holds(commits.c.time_us, comparison)
    column, stored = _TEXTS[comparison.field]
    text = str(comparison.value)
    if comparison.operator is Operator.LIKE:
        return _matches(column, text, sqlite)
    found: _Condition = _COMPARE[comparison.operator](column, stored(text))
    return found


def _has(table: Table, comparison: Comparison, tests: list[_Condition]) -> _Condition:
    """Whether a commit has a row of that name in ``table`` that passes the tests; for ``= null``, whether it has not.

    EXISTS, because its worst case is one look by primary key for each commit. IN would be quicker
    where few commits pass, but SQLite makes the whole list even if the newest hundred are wanted, and
    PostgreSQL goes through the whole of a long list for each row if it is asked for NOT IN.
    """
    row = select(table.c.commit).where(
        table.c.commit == commits.c.id, table.c.name == index_name(comparison.name), *tests
    )
    exists = row.correlate(commits).exists()
    return not_(exists) if comparison.value is None and comparison.operator is Operator.EQUAL else exists


def _metric_holds(comparison: Comparison) -> _Condition:
    """NaN is in the column as NULL; it is unequal to every number, and equal to NaN when that is asked for."""
    column, value = metrics.c.value, _float(comparison.value)
    unequal = comparison.operator is Operator.NOT_EQUAL
    if math.isnan(value):
        return column.is_not(None) if unequal else column.is_(None)
    holds: _Condition = _COMPARE[comparison.operator](column, value)
    return or_(column.is_(None), holds) if unequal else holds


def _param_holds(comparison: Comparison, sqlite: bool) -> _Condition:
    value = comparison.value
    if comparison.operator is Operator.LIKE:
        return _matches(params.c.value_string, str(value), sqlite)
    column: Column[Any] = params.c.value_string
    if isinstance(value, bool):
        column, value = params.c.value_text, "true" if value else "false"
    elif isinstance(value, str):
        value = storable(value)
    elif math.isnan(value := _float(value)):
        value = "nan"
    else:
        column = params.c.value_number
    holds: _Condition = _COMPARE[comparison.operator](column, value)
    # A text is unequal to every number, and so on.
    return or_(column.is_(None), holds) if comparison.operator is Operator.NOT_EQUAL else holds


def _matches(column: Column[str], pattern: str, sqlite: bool) -> _Condition:
    """Whether a whole text matches: ``*`` is any number of characters, ``?`` is one, all else itself."""
    pattern = re.sub(r"\*+", "*", storable(pattern))
    if sqlite:  # whose LIKE takes a for A, and only in ASCII
        return column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
    pattern = re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%").replace("?", "_")
    return column.like(pattern, escape="\\")


def _integer_holds(column: Column[int] | Column[int | None], comparison: Comparison) -> _Condition:
    """A comparison of integers, whatever the value: the databases would round a 64-bit integer beside a float."""
    there: _Condition = column.is_not(None)
    compared, value = comparison.operator, comparison.value
    if value is None:
        return column.is_(None) if compared is Operator.EQUAL else there
    number = value if isinstance(value, int) else _float(value)
    if number not in (math.inf, -math.inf) and -MAX_INTEGER - 1 <= number <= MAX_INTEGER:
        whole = math.floor(number)
        if whole == number:
            return and_(there, _COMPARE[compared](column, whole))
        upwards = column > whole
    else:
        upwards = false() if number > 0 else true()
    # The value lies between two integers, or beyond all of them: none equals it.
    match compared:
        case Operator.EQUAL:
            return false()
        case Operator.NOT_EQUAL:
            return there
        case Operator.GREATER | Operator.GREATER_OR_EQUAL:
            return and_(there, upwards)
        case _:
            return and_(there, not_(upwards))


def _float(value: Value) -> float:
    try:
        return float(value or 0)
    except OverflowError:  # an integer beyond all floats
        return math.inf if isinstance(value, int) and value > 0 else -math.inf
