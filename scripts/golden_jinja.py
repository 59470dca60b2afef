"""Writes the golden results of Jinja2's tests, filters and methods, in transformers' environment.

    python scripts/golden_jinja.py crates/model_io/tests/golden/jinja.json

`unary` has a letter per value for each test of one value, and `binary` a row of letters per value
for each test of two: T, F, or `-` where Jinja2 fails (and the letter of ours is free), or where
`lower` and `upper` test what is not a string. Made with Jinja2 3.1.6 and transformers 5.24.0.
"""

import json
import sys
from pathlib import Path

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

# Before a value that is tested: it may be the macro `m` and the variable `loop`.
FRAME = ["{% macro m() %}{% endmacro %}{% for _ in [0] %}", "{% endfor %}"]
VALUES = [
    "nothing", "none", "true", "false", "0", "1", "(-1)", "2", "2.0", "1.5", "''", "'abc'",
    "'ABC'", "'aB1'", "'1'", "[]", "[1]", "(1, 2)", "{}", "{'a': 1}", "{'a': 1}.items()",
    "namespace(a=1)", "m", "loop", "range", "raise_exception", "tools", "messages", "messages[0]",
]  # fmt: skip
OPERANDS = [
    "nothing", "none", "true", "1", "2.0", "''", "'a'", "'abc'", "[1]", "(1, 2)", "{'a': 1}",
]  # fmt: skip
UNARY = [
    "boolean", "callable", "defined", "escaped", "even", "false", "float", "integer", "iterable",
    "lower", "mapping", "none", "number", "odd", "sequence", "string", "true", "undefined",
    "upper",
]  # fmt: skip
BINARY = ["divisibleby", "eq", "ge", "gt", "in", "le", "lt", "ne"]
IDENTITY = ["none", "true", "false", "1", "'a'"]  # other values are objects of their own


def render(source):
    messages = [{"role": "user", "content": "Hi"}]
    return _compile_jinja_template(source).render(messages=messages, tools=None)


def letter(condition):
    try:
        return render(f"{FRAME[0]}{{{{ 'T' if {condition} else 'F' }}}}{FRAME[1]}")
    except (TypeError, ZeroDivisionError, jinja2.UndefinedError):
        return "-"


def unary(test):
    of_strings = test in ("lower", "upper")
    return "".join(
        "-" if of_strings and value[0] != "'" else letter(f"{value} is {test}") for value in VALUES
    )


def binary(test, operands):
    return ["".join(letter(f"{a} is {test}({b})") for b in operands) for a in operands]


def main():
    out = Path(sys.argv[1])
    golden = {
        "frame": FRAME,
        "values": VALUES,
        "unary": {test: unary(test) for test in UNARY},
        "operands": OPERANDS,
        "binary": {test: binary(test, OPERANDS) for test in BINARY},
        "identity": IDENTITY,
        "sameas": binary("sameas", IDENTITY),
        "tests": sorted(jinja2.tests.TESTS),
    }
    out.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
