"""Writes the golden results of Jinja2's tests, filters and methods, in transformers' environment.

    python scripts/golden_jinja.py crates/model_io/tests/golden/jinja.json

`unary` has a letter per value for each test of one value, and `binary` a row of letters per value
for each test of two: T, F, or `-` where Jinja2 fails (and the letter of ours is free), or where
`lower` and `upper` test what is not a string. `rendered` has templates and their text, null for an
error. Made with Jinja2 3.1.6 and transformers 5.24.0.
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

EXPRESSIONS = r"""
{'b': 1, 'a': [1, 'é']} | tojson(sort_keys=true)
{'b': 1, 'a': [1, 'é']} | tojson(separators=(',', ':'))
{'b': 1, 'a': [1, 'é']} | tojson(ensure_ascii=true)
{'b': 1, 'a': [1, 'é😀']} | tojson(true, 2, none, true)
{'b': {'d': 1, 'c': []}, 'a': {}} | tojson(indent=2, sort_keys=true)
{'b': [1, 2]} | tojson(indent='--', separators=('; ', ' = '))
{'b': 1} | tojson(indent=none, separators=none, sort_keys=false)
[1, [2]] | tojson(indent=0)
{none: none, true: false, 7: 2} | tojson
'a<b>&\'"/' | tojson
'ab' | tojson(4)
'abcb'.index('b')
'éabcb'.rindex('b')
['a', 'b'].index('b')
'a-b-c'.partition('-') | join('|')
'a-b-c'.rpartition('-') | join('|')
'abc'.partition('-') | join('|')
'abc'.rpartition('-') | join('|')
'a,b,c'.rsplit(',') | join('|')
'a,b,c'.rsplit(',', 1) | join('|')
'a,b,c'.rsplit(sep=',', maxsplit=1) | join('|')
'  a  b c '.rsplit() | join('|')
'  a  b c '.rsplit(none, 1) | join('|')
'  a  b'.rsplit(none, 1) | join('|')
'a b'.rsplit(none, 0) | join('|')
'a,b,c'.split(',', maxsplit=1) | join('|')
'a,b,c'.split(sep=',') | join('|')
'a b'.split() | join('|')
'a,b,c'.split(',', -1) | join('|')
'abc'.removeprefix('a') ~ 'abc'.removeprefix('b') ~ 'abc'.removeprefix('')
'abc'.removesuffix('c') ~ 'abc'.removesuffix('b') ~ 'abc'.removesuffix('')
'42'.zfill(5) ~ ' ' ~ '-42'.zfill(5) ~ ' ' ~ '+4'.zfill(2)
'é'.zfill(3) ~ ' ' ~ '42'.zfill(-1) ~ ' ' ~ '-'.zfill(3)
'abc'.center(6, '*') ~ 'ab'.center(5, '*') ~ 'abc'.center(8) ~ '|' ~ 'abc'.center(2)
'é'.ljust(3, '-') ~ 'é'.rjust(3, 'ü') ~ 'abc'.ljust(1)
'aBcÉß'.swapcase()
'abc' | center(7) ~ '|'
'abc' | center(width=6) ~ '|'
('abc' | center) | length
'a b, c_d-e é 1.5' | wordcount
'' | wordcount
'a b/ü?&=~.-_' | urlencode
{'a b': 1, 'c/d': 'é f'} | urlencode
[('a', 'b c')] | urlencode
5 | urlencode
1 | filesizeformat
999 | filesizeformat
13000 | filesizeformat
4100000 | filesizeformat
13000 | filesizeformat(true)
13000 | filesizeformat(binary=true)
1e30 | filesizeformat
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(11, false, '...', 0)
'foo bar baz qux' | truncate(length=5, killwords=true, end='…', leeway=0)
'%s-%d' % ('a', 3)
'%s' % 'x'
'%.2f' % 3.14159 ~ '%05d' % 42
'a' ~ '%s' % messages[0].content | upper ~ '%'
'%s' % none
'100%% of %s' % ['a', 'b'] | join('+')
'%s' % (messages | length)
'%s, %s' % (messages | length, (1, 2) | join(')'))
'a%' ~ 5 % 3
("it's %s" % "é\"") | length
['%s' % 1, '%s' % 2] | join if '%s' % 3 == '3' else '%'
""".strip().split("\n")
# Templates that keep a state between calls, and what Python refuses.
TEMPLATES = [
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}",
    "{% set j = joiner() %}{{ j() }}a{{ j() }}b{{ j() }}c",
    "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b",
    "{% set x = '%s' %}{{ x }}{% set x = '%s' -%} {{ x }}",
    "{# '%s' % x #}{% raw %}{{ '%s' % x }}{% endraw %}{% if true %}%{% endif %} '%s' % x",
    "{% for i in [1, 2] %}{{ \"%02d\" % i }}{% set y = '{%s}' % i %}{{ y }}{% endfor %}",
    "{{ 'abc'.index('x') }}",
    "{{ 'abc'.partition('') }}",
    "{{ 'abc'.rsplit('') }}",
    "{{ [1].index(2) }}",
    "{{ 'abc'.center(5, 'xy') }}",
    "{{ 'a' | tojson(nosuch=1) }}",
    "{{ 'abcdefghij' | truncate(2) }}",
]


def render(source):
    messages = [{"role": "user", "content": "Hi"}]
    return _compile_jinja_template(source).render(messages=messages, tools=None)


def letter(condition):
    try:
        return render(f"{FRAME[0]}{{{{ 'T' if {condition} else 'F' }}}}{FRAME[1]}")
    except (TypeError, ZeroDivisionError, jinja2.UndefinedError):
        return "-"


def text(source):
    try:
        return render(source)
    except (AssertionError, TypeError, ValueError):
        return None


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
        "rendered": [
            [source, text(source)]
            for source in [f"{{{{ {expression} }}}}" for expression in EXPRESSIONS] + TEMPLATES
        ],
    }
    out.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
