"""The search language, read: ``metrics.loss < 0.1 and params.lr >= 1e-4`` becomes a tree of comparisons.

`parse` checks everything that can be checked without a database, so that whatever
is wrong is a FormatError that names the character and what was expected there.
`cas.index.search` makes SQL of the tree. The language is described in docs/search.md.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn

from cas.errors import FormatError

__all__ = ["AllOf", "AnyOf", "Comparison", "Expression", "Field", "Not", "Operator", "Value", "parse"]

MAX_CHARACTERS = 4000
MAX_COMPARISONS = 100  # a database plans every one of them
MAX_DEPTH = 10  # SQLite's own parser has a stack of 100 symbols, and a level takes up to six


class Field(enum.Enum):
    """What can be compared; metrics and params have a name too."""

    METRIC = "metrics"
    PARAM = "params"
    STEP = "step"
    RUN = "run"
    TRIAL = "trial"
    AUTHOR = "author"
    MESSAGE = "message"
    TIME = "time"


class Operator(enum.Enum):
    """How to compare. `LIKE` matches a pattern with ``*`` and ``?``."""

    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    EQUAL = "="
    NOT_EQUAL = "!="
    LIKE = "~"


Value = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one value.

    Attributes:
        field: what is compared.
        name: which metric or param; empty for other fields.
        operator: how.
        value: against what. A time is in microseconds since 1970-01-01 UTC.
    """

    field: Field
    name: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Not:
    """True where the term is false."""

    term: Expression


@dataclass(frozen=True, slots=True)
class AllOf:
    """True where every term is."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where at least one term is."""

    terms: tuple[Expression, ...]


Expression = Comparison | Not | AllOf | AnyOf


def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        FormatError: it is none; the message gives the character and what was expected there.
    """
    if len(text) > MAX_CHARACTERS:
        raise FormatError(f"a search has up to {MAX_CHARACTERS} characters, not {len(text)}")
    return _Parser(text).parse()


class _Kind(enum.Enum):
    """What a value is; the texts stand in messages."""

    NUMBER = "a number"
    TEXT = "a text in quotes"
    TIME = 'a time in quotes, such as "2026-11-23 21:00"'
    TRUTH = "true, false"
    NAN = "nan"
    NULL = "null"


_ORDER = (Operator.LESS, Operator.LESS_OR_EQUAL, Operator.GREATER, Operator.GREATER_OR_EQUAL)
_EQUALITY = (Operator.EQUAL, Operator.NOT_EQUAL)
_NUMBER, _TEXT, _TIME = (_Kind.NUMBER,), (_Kind.TEXT,), (_Kind.TIME,)


def _rules(
    order: tuple[_Kind, ...], equality: tuple[_Kind, ...], like: tuple[_Kind, ...]
) -> dict[Operator, tuple[_Kind, ...]]:
    rules = {
        **dict.fromkeys(_EQUALITY, equality),
        **dict.fromkeys(_ORDER, order),
        Operator.LIKE: like,
    }
    return {operator: kinds for operator, kinds in rules.items() if kinds}


# Text has no order here: SQLite sorts it by code points, PostgreSQL as its administrator chose.
_OF_TEXT = _rules((), _TEXT, _TEXT)
_RULES = {
    Field.METRIC: _rules(_NUMBER, (_Kind.NUMBER, _Kind.NAN, _Kind.NULL), ()),
    Field.PARAM: _rules(_NUMBER, (_Kind.NUMBER, _Kind.TEXT, _Kind.TRUTH, _Kind.NAN, _Kind.NULL), _TEXT),
    Field.STEP: _rules(_NUMBER, (_Kind.NUMBER, _Kind.NULL), ()),
    Field.TIME: _rules(_TIME, _TIME, ()),
    Field.RUN: _OF_TEXT,
    Field.TRIAL: _OF_TEXT,
    Field.AUTHOR: _OF_TEXT,
    Field.MESSAGE: _OF_TEXT,
}
_NAMED = (Field.METRIC, Field.PARAM)
_FIELDS = ", ".join(f"{field.value}.NAME" if field in _NAMED else field.value for field in Field)
_WORDS: dict[str, tuple[_Kind, Value]] = {
    "true": (_Kind.TRUTH, True),
    "false": (_Kind.TRUTH, False),
    "null": (_Kind.NULL, None),
    "nan": (_Kind.NAN, float("nan")),
}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKENS = re.compile(
    r"""(?P<number>[+-]?(?:inf|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?![\w.]))
    |   (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |   (?P<operator><=|>=|==|!=|[<>=~])
    |   (?P<mark>[()])
    |   (?P<word>[^\W\d][\w./@%+:-]*)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Parser:
    """Recursive descent: a method for each rule of the grammar in docs/search.md."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = self._comparisons = 0
        self._token = self._next(0)

    def parse(self) -> Expression:
        found = self._either()
        if self._token.kind != "end":
            self._fail("'and', 'or' or the end")
        return found

    # -- tokens

    def _next(self, start: int) -> _Token:
        space = _SPACE.match(self._text, start)
        at = space.end() if space else start
        if at == len(self._text):
            return _Token("end", "the end", at)
        if (match := _TOKENS.match(self._text, at)) is None:
            # Up to the next space, so that the message shows a word, not a letter of it.
            return _Token("unknown", self._text[at:].split(maxsplit=1)[0], at)
        return _Token(str(match.lastgroup), match[0], at)

    def _take(self) -> _Token:
        token = self._token
        self._token = self._next(token.at + len(token.text))
        return token

    def _takes(self, text: str) -> bool:
        """Whether this word or mark is next; if so it is taken."""
        if self._token.kind not in ("word", "mark") or self._token.text.lower() != text:
            return False
        self._take()
        return True

    def _fail(self, expected: str, token: _Token | None = None) -> NoReturn:
        token = token or self._token
        found = token.text if token.kind == "end" else repr(token.text[:40])
        raise FormatError(f"search, character {token.at + 1}: expected {expected}; found {found}")

    # -- rules

    def _either(self) -> Expression:
        terms = [self._both()]
        while self._takes("or"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _both(self) -> Expression:
        terms = [self._negation()]
        while self._takes("and"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else AllOf(tuple(terms))

    def _negation(self) -> Expression:
        negated = False
        while self._takes("not"):
            negated = not negated
        term = self._term()
        return Not(term) if negated else term

    def _term(self) -> Expression:
        start = self._token
        if not self._takes("("):
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"at most {MAX_DEPTH} parentheses in each other", start)
        inner = self._either()
        if not self._takes(")"):
            self._fail("')', 'and' or 'or'")
        self._depth -= 1
        return inner

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            self._fail(f"at most {MAX_COMPARISONS} comparisons")
        field, name = self._field()
        rules = _RULES[field]
        spelled = "=" if self._token.text == "==" else self._token.text
        if self._token.kind != "operator" or Operator(spelled) not in rules:
            self._fail(_listed([operator.value for operator in rules]))
        self._take()
        return Comparison(field, name, Operator(spelled), self._value(rules[Operator(spelled)]))

    def _field(self) -> tuple[Field, str]:
        token = self._token
        table, dot, name = token.text.partition(".")
        known = {field.value: field for field in Field}.get(table)
        if token.kind != "word" or known is None or bool(dot) != (known in _NAMED):
            self._fail(f"a field ({_FIELDS})")
        self._take()
        if dot and not name:
            # The name is quoted, right behind the dot.
            if self._token.kind != "text" or self._token.at != token.at + len(token.text):
                self._fail(f"the name of one of the {table} behind the dot, in quotes if it is an odd one")
            name = self._unquoted(self._take())
        return known, name

    def _value(self, accepted: tuple[_Kind, ...]) -> Value:
        token = self._token
        kind: _Kind | None = None
        value: Value = None
        if token.kind == "number":
            kind, value = _Kind.NUMBER, _number(token.text)
        elif token.kind == "text":
            kind, value = _Kind.TEXT, self._unquoted(token)
            if accepted == _TIME and (time_us := _time_us(value)) is not None:
                kind, value = _Kind.TIME, time_us
        elif token.kind == "word":
            kind, value = _WORDS.get(token.text.lower(), (None, None))
        if kind not in accepted:
            self._fail(_listed([kind.value for kind in accepted]))
        self._take()
        return value

    def _unquoted(self, token: _Token) -> str:
        inner = token.text[1:-1]
        for escape in _ESCAPE.finditer(inner):
            if escape[1] not in "\\\"'":
                at = _Token("text", escape[0], token.at + 1 + escape.start())
                self._fail("a backslash or a quote behind a backslash", at)
        return _ESCAPE.sub(r"\1", inner)


def _number(text: str) -> int | float:
    """Whole numbers stay exact: a step need not fit a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _time_us(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
        return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
