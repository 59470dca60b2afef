//! Random chat templates: statements and expressions of Jinja, most of which compile.

use tensor_core::Rng;

use crate::jinja_words::{ATOMS, FILTERS, FUNCTIONS, METHODS, NAMES, OPERATORS, TESTS};

/// Deepest nesting of statements and expressions.
const MAX_DEPTH: usize = 4;

/// Random template.
pub(crate) fn template(rng: &mut Rng) -> String {
    statements(0, rng)
}

fn one_of<'a>(choices: &[&'a str], rng: &mut Rng) -> &'a str {
    choices[rng.below(choices.len())]
}

fn statements(depth: usize, rng: &mut Rng) -> String {
    (0..1 + rng.below(3)).map(|_| statement(depth, rng)).collect()
}

fn statement(depth: usize, rng: &mut Rng) -> String {
    let dash = |rng: &mut Rng| one_of(&["", "", "-"], rng);
    let (open, close) = (dash(rng), dash(rng));
    let tag = |text: String| format!("{{%{open} {text} {close}%}}");
    if depth >= MAX_DEPTH {
        return one_of(&["text", "\n", "<|im_end|>", "  "], rng).to_string();
    }
    let value = expression(depth, rng);
    let name = one_of(NAMES, rng);
    match rng.below(12) {
        0 => tag(format!("set {name} = {value}")),
        1 => tag(format!("set ns.{name} = {value}")),
        2 => tag(format!("set ns = namespace({name}={value})")),
        3 => {
            let body = statements(depth + 1, rng);
            tag(format!("if {value}")) + &body + &tag("endif".into())
        }
        4 | 5 => {
            let body = statements(depth + 1, rng);
            tag(format!("for {name} in {value}")) + &body + &tag("endfor".into())
        }
        6 => {
            let body = statements(depth + 1, rng);
            tag("generation".into()) + &body + &tag("endgeneration".into())
        }
        7 => {
            let body = statements(depth + 1, rng);
            let macro_ = tag(format!("macro m({name})")) + &body + &tag("endmacro".into());
            macro_ + &format!("{{{{ m({value}) }}}}")
        }
        8 => {
            let body = statements(depth + 1, rng);
            tag(format!("filter {}", one_of(FILTERS, rng))) + &body + &tag("endfilter".into())
        }
        9 => one_of(&["text", "\r\n", "<|im_end|>", "{#- c -#}", "{% raw %}{{{% endraw %}"], rng)
            .to_string(),
        _ => format!("{{{{{open} {value} {close}}}}}"),
    }
}

fn expression(depth: usize, rng: &mut Rng) -> String {
    if depth >= MAX_DEPTH {
        return one_of(ATOMS, rng).to_string();
    }
    let mut inner = || expression(depth + 1 + rng.below(2), rng);
    let (a, b, c) = (inner(), inner(), inner());
    let name = one_of(NAMES, rng);
    match rng.below(14) {
        0 => format!("{a} {} {b}", one_of(OPERATORS, rng)),
        1 => format!("{a} | {}", one_of(FILTERS, rng)),
        2 => format!("{a}.{}", one_of(METHODS, rng)),
        3 => format!("{a}[{b}]"),
        4 => format!("{a}[{b}:{c}]"),
        5 => format!("({a} if {b} else {c})"),
        6 => format!("[{a}, {b}]"),
        7 => format!("{{{a}: {b}, '{name}': {c}}}"),
        8 => format!("{a} is {}", one_of(TESTS, rng)),
        9 => format!("{}({a})", one_of(FUNCTIONS, rng)),
        10 => format!("({a})"),
        11 => format!("not {a}"),
        _ => one_of(ATOMS, rng).to_string(),
    }
}
