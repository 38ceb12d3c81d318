"""From a formula's text to a checked syntax tree: the first gate, before anything is computed.

The language is a small part of Python's expressions, so Python's own ``ast.parse`` reads it. Text reaches it only after
a scan for the language's own tokens, with bounds on length, tokens and nesting: no hostile string gets near the parts
of Python that this language lacks. Nothing is ever compiled or evaluated by Python (see ``formula_compile.py``).

simpleeval 1.0.8 and asteval 1.0.10 were measured first, with their defaults. simpleeval works 5 s on ``9**4000000``,
both fill a gigabyte with an f-string of a given width, and asteval never ends ``while 1: pass``. Neither checks the
branch of an ``if`` that is not taken, so a misspelt name would end a training in its 90th epoch;
and one evaluation takes them about 7 and 13 times as long as here.
``recipes/benchmarks/formula.py`` repeats the comparison.
"""

import ast
import re
from collections.abc import Iterable

from lr_lightning.rules.checks import nearest

# Bounds on what a formula may cost to read, chosen above the longest preset: with 90 milestones it has 1,700
# characters and 550 words and signs.
MAX_CHARACTERS = 4000
MAX_TOKENS = 1000
# CPython's parser allows 200 parentheses and its compiler fewer levels; far below both nothing depends on the release.
MAX_PARENTHESES = 30
MAX_DEPTH = 100

# Name of a function -> least and greatest number of arguments; None: any number.
FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "min": (2, None),
    "max": (2, None),
    "clip": (3, 3),
    "abs": (1, 1),
    "sqrt": (1, 1),
    "exp": (1, 1),
    "log": (1, 1),
    "log10": (1, 1),
    "sin": (1, 1),
    "cos": (1, 1),
    "floor": (1, 1),
    "ceil": (1, 1),
    "metric": (1, 2),
}
_BLANKS = " \t\r\n\f\v"  # what the regex calls blank in ASCII
WORDS = ("if", "else", "and", "or", "not")

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<string>"[^"'\\\n]*"|'[^"'\\\n]*')
    |(?P<operator>\*\*|//|<=|>=|==|!=|[-+*/%<>(),])
    )""",
    re.ASCII | re.VERBOSE,
)
_HINTS = {
    "^": "write ** for a power",
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != to compare",
    ".": "attributes are not part of the language: cos(x), not math.cos(x)",
    ":": "a formula is one expression; a choice is a if condition else b",
    "[": "lists and indexing are not part of the language",
    "{": "braces are not part of the language",
    "\\": "strings may not hold backslashes",
}


# What other tools call the counters, totals and LRs -> what they are here.
_OTHER_NAMES = {
    "step": "global_step current_step step_num num_step iter iteration iterations it i n_iter update num_updates t",
    "epoch": "current_epoch epoch_num epoch_idx last_epoch num_epoch ep e",
    "batch": "batch_idx batch_index batch_nb",
    "steps": "total_steps max_steps num_steps num_training_steps total_iters max_iter max_iters num_iter total_updates",
    "epochs": "total_epochs max_epochs num_epochs n_epochs nb_epochs T_max",
    "batches": "num_batches n_batches steps_per_epoch batches_per_epoch num_training_batches iters_per_epoch",
    "base_lr": "initial_lr init_lr lr_init lr0 lr_0 eta0 eta_0 eta max_lr peak_lr start_lr learning_rate "
    "initial_learning_rate base_learning_rate",
    "progress": "pct percent fraction frac",
    "pi": "math_pi",
}
_HERE = {other.lower().replace("_", ""): name for name, others in _OTHER_NAMES.items() for other in others.split()}
_OTHER_FUNCTIONS = {
    "int": "floor(x)",
    "round": "floor(x + 0.5)",
    "pow": "x ** y",
    "power": "x ** y",
    "square": "x ** 2",
    "ln": "log(x)",
    "log2": "log(x) / log(2)",
    "log1p": "log(1 + x)",
    "expm1": "exp(x) - 1",
    "exp2": "2 ** x",
    "tan": "sin(x) / cos(x)",
    "fabs": "abs(x)",
    "fmod": "x % y",
    "mod": "x % y",
    "minimum": "min(x, y)",
    "maximum": "max(x, y)",
    "clamp": "clip(x, low, high)",
    "where": "a if condition else b",
    "float": "x: every value is a float",
}


class FormulaError(ValueError):
    """A formula that cannot be read, cannot be computed, or gives an impossible LR.

    Attributes:
        position: 1-based position in the formula's text, or ``None`` if the error is in no one place.

    >>> from lr_lightning import Formula
    >>> try:
    ...     Formula("base_lr * epoc")
    ... except FormulaError as error:
    ...     print(str(error).splitlines()[0])
    position 11: unknown name 'epoc'; did you mean 'epoch'?
    """

    def __init__(self, message: str, position: int | None = None):
        super().__init__(message)
        self.position = position


def error_at(text: str, index: int, message: str) -> FormulaError:
    """A :class:`FormulaError` that shows the place.

    Args:
        text: The formula.
        index: 0-based index of the place in ``text``.
        message: What is wrong; the position is put in front.
    """
    shown = " ".join(text.splitlines()) if "\n" in text else text
    start = max(0, index - 60)
    line = shown[start : start + 120]
    return FormulaError(f"position {index + 1}: {message}\n  {line}\n  {' ' * (index - start)}^", index + 1)


def scan(text: str) -> list[tuple[str, str, int]]:
    """Split a formula into tokens: (kind, text, index).

    Raises:
        FormulaError: If the text is empty, too long, or holds what is not part of the language.
    """
    if not isinstance(text, str):
        raise FormulaError(f"a formula is a string, got {text!r} of type {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula has {len(text)} characters, at most {MAX_CHARACTERS} are allowed")
    tokens: list[tuple[str, str, int]] = []
    index, end = 0, len(text.rstrip(_BLANKS))
    while index < end:
        match = _TOKEN.match(text, index, end)
        if match is None:
            raise _unreadable(text, index)
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind], match.start(kind)))
        index = match.end()
        if len(tokens) > MAX_TOKENS:
            raise error_at(text, match.start(kind), f"the formula has more than {MAX_TOKENS} words and signs")
    if not tokens:
        raise FormulaError("the formula is empty")
    _check_parentheses(text, tokens)
    return tokens


def _unreadable(text: str, index: int) -> FormulaError:
    while text[index] in _BLANKS:
        index += 1
    sign = text[index]
    if sign.isdigit():
        word = re.match(r"[\w.]{1,40}", text[index:])
        return error_at(text, index, f"cannot read {word[0] if word else sign!r} as a number")
    if sign in "\"'":
        return error_at(text, index, "a string that does not end, or holds a quote or a backslash")
    hint = f" ({_HINTS[sign]})" if sign in _HINTS else ""
    return error_at(text, index, f"unexpected {sign!r}{hint}")


def _check_parentheses(text: str, tokens: list[tuple[str, str, int]]) -> None:
    opened: list[int] = []
    for _, token, index in tokens:
        if token == "(":
            opened.append(index)
            if len(opened) > MAX_PARENTHESES:
                raise error_at(text, index, f"more than {MAX_PARENTHESES} parentheses inside of each other")
        elif token == ")":
            if not opened:
                raise error_at(text, index, "')' without '('")
            opened.pop()
    if opened:
        raise error_at(text, opened[-1], "'(' without ')'")


def parse(text: str, names: Iterable[str]) -> ast.expr:
    """Read a formula.

    Args:
        text: The formula.
        names: Variables and parameters that it may use, besides :data:`FUNCTIONS`.

    Returns:
        A syntax tree that holds the nodes of the language alone; every name in it is known.

    Raises:
        FormulaError: If the text is not a formula; the message names the position, and for an unknown name the nearest
            known one.
    """
    known = set(names)
    tokens = scan(text)
    _check_words(text, tokens, known)
    _check_order(text, tokens)
    flat = re.sub(r"\s", " ", text.rstrip(_BLANKS), flags=re.ASCII)  # a line break in YAML is a space; positions stay
    blank = len(flat) - len(flat.lstrip(" "))
    try:
        tree = ast.parse(flat[blank:], mode="eval").body
    except SyntaxError as error:
        index = min(max((error.offset or 1) - 1 + blank, 0), len(flat) - 1)
        raise error_at(text, index, f"not a formula ({error.msg})") from None
    except (MemoryError, RecursionError):
        raise FormulaError("the formula is nested too deeply") from None
    _check_tree(text, tree, blank)
    return tree


def _check_words(text: str, tokens: list[tuple[str, str, int]], known: set[str]) -> None:
    following = [token for _, token, _ in tokens[1:]] + [""]
    for (kind, token, index), after in zip(tokens, following, strict=True):
        if kind != "name" or token in WORDS:
            continue
        if after == "(":
            if token in FUNCTIONS:
                continue
            if token in known:
                raise error_at(text, index, f"{token!r} is a variable and cannot be called (a missing '*'?)")
            raise error_at(text, index, f"unknown function {token!r}{_here_function(token)}")
        if token in FUNCTIONS:
            raise error_at(text, index, f"{token!r} is a function: write {token}(…)")
        if token not in known:
            raise error_at(text, index, f"unknown name {token!r}{_here_name(token, known)}")


def _here_name(token: str, known: set[str]) -> str:
    """What a name of another tool is here, else the nearest known name."""
    if token == "lambda":
        return "; write the formula alone, without lambda and its arguments"
    if token in ("True", "False"):
        return f"; write {int(token == 'True')}"
    plain = token.lower().replace("_", "")
    same = next((name for name in sorted(known) if name.lower().replace("_", "") == plain), _HERE.get(plain))
    if same in known:
        return f"; here it is {same!r}"
    near = nearest(token, known)
    # Written only where it is likely: of a misspelt name the nearest one is enough.
    return near if "did you mean" in near else f"{near}; a constant of your own has its value beside it: {token}=…"


def _here_function(token: str) -> str:
    plain = token.lower()
    if plain in FUNCTIONS:
        return f"; here it is {plain!r}"
    return f"; write {_OTHER_FUNCTIONS[plain]}" if plain in _OTHER_FUNCTIONS else nearest(token, FUNCTIONS)


def _check_order(text: str, tokens: list[tuple[str, str, int]]) -> None:
    """Values and operators take turns. Python finds this too, but its position for it differs between releases."""
    value_next, before = True, ""
    for kind, token, index in tokens:
        is_value = kind in ("number", "string") or (kind == "name" and token not in WORDS)
        if value_next:
            if not (is_value or token in ("(", "-", "+", "not") or (token == ")" and before in FUNCTIONS)):
                raise error_at(text, index, f"a value is missing before {token!r}")
            value_next = not is_value and token != ")"
        elif is_value or token == "not" or (token == "(" and before not in FUNCTIONS):
            raise error_at(text, index, f"an operator is missing before {token!r}")
        else:
            value_next = token != ")"
        before = token if token != "(" or before not in FUNCTIONS else before
    if value_next:
        _, token, index = tokens[-1]
        raise error_at(text, index, f"a value is missing after {token!r}")


_ALLOWED = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Not, ast.And),
    *(ast.Or, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Load),
)


def _check_tree(text: str, tree: ast.expr, blank: int) -> None:
    """Check every node, and shift positions by the blanks in front. Iterative: the depth is not yet known here."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, ast.expr):
            node.col_offset += blank
            node.end_col_offset = (node.end_col_offset or 0) + blank
            if depth > MAX_DEPTH:
                raise error_at(text, node.col_offset, f"the formula is nested more than {MAX_DEPTH} levels deep")
        if not isinstance(node, _ALLOWED):
            place = getattr(node, "col_offset", 0)
            raise error_at(text, place, f"{type(node).__name__.lower()} is not part of the language")
        if isinstance(node, ast.Call):
            _check_call(text, node, blank)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise error_at(text, node.col_offset, "a string is only allowed in metric(…)")
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node) if child is not _metric_name(node)]


def _metric_name(node: ast.AST) -> ast.expr | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "metric" and node.args:
        return node.args[0]
    return None


def _check_call(text: str, node: ast.Call, blank: int) -> None:
    if not isinstance(node.func, ast.Name) or node.keywords:
        raise error_at(
            text, node.col_offset, "only a named function can be called, with plain arguments (a missing '*'?)"
        )
    least, most = FUNCTIONS[node.func.id]
    count = len(node.args)
    if count < least or (most is not None and count > most):
        wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        raise error_at(text, node.col_offset, f"{node.func.id} takes {wanted} arguments, got {count}")
    name = _metric_name(node)
    if name is not None and not (isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value):
        raise error_at(text, name.col_offset + blank, 'metric takes a name in quotes: metric("val_loss")')
