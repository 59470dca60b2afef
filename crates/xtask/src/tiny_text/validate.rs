//! Validation of a parsed grammar: every reference must resolve, and every rule must be used. A
//! misspelled name is thus an error with file and line, even if the text never draws it.

use std::collections::HashSet;

use anyhow::{Result, anyhow, bail};

use super::grammar::{Binding, Grammar, Part, Rule, Story, Template};

/// Name of the rule whose rows are the words for 0, 1, 2 and so on.
pub(crate) const NUMBER_RULE: &str = "number";
/// Fields of a bound number; the empty name is its digits.
const NUMBER_FIELDS: [&str; 4] = ["", "word", "count", "words"];

/// Fails on the first broken reference or unused rule, naming file and line.
pub(crate) fn validate(grammar: &Grammar) -> Result<()> {
    let at = |line: usize| move |error| anyhow!("{}:{line}: {error}", grammar.file);
    let mut used = HashSet::new();
    for story in &grammar.stories {
        if story.slots.is_empty() {
            return Err(at(story.line)(anyhow!("story {} has no slots", story.name)));
        }
        for index in 0..story.bindings.len() {
            check_binding(grammar, story, index, &mut used).map_err(at(story.bindings[index].2))?;
        }
        for (line, template) in story.slots.iter().flat_map(|slot| &slot.alternatives) {
            check_references(grammar, story, template, &mut used).map_err(at(*line))?;
        }
    }
    for index in 0..grammar.rules.len() {
        // A rule may refer only to rules above it, so recursion is impossible.
        for (line, row) in &grammar.rules[index].rows {
            for template in row {
                let above = &grammar.rules[..index];
                check_rule_template(above, template).map_err(at(*line))?;
            }
        }
    }
    match unused_rules(grammar, used).first() {
        Some(&index) => {
            let rule = &grammar.rules[index];
            Err(at(rule.line)(anyhow!("rule {} is never used", rule.name)))
        }
        None => Ok(()),
    }
}

/// Indices of the rules that no story reaches; `used` holds the rules named in stories.
fn unused_rules(grammar: &Grammar, mut used: HashSet<String>) -> Vec<usize> {
    // Rules refer only to rules above them, so one pass from the last to the first suffices.
    for rule in grammar.rules.iter().rev() {
        if used.contains(&rule.name) {
            let templates = rule.rows.iter().flat_map(|(_, row)| row).flatten();
            used.extend(templates.filter_map(|part| match part {
                Part::Reference { name, .. } => Some(name.clone()),
                Part::Text(_) => None,
            }));
        }
    }
    (0..grammar.rules.len()).filter(|&index| !used.contains(&grammar.rules[index].name)).collect()
}

/// Checks one binding of `story` against the rules and the bindings before it.
fn check_binding(
    grammar: &Grammar,
    story: &Story,
    index: usize,
    used: &mut HashSet<String>,
) -> Result<()> {
    let is_number = |operand: &str| {
        let mut earlier = story.bindings[..index].iter();
        earlier.any(|(name, binding, _)| name == operand && !matches!(binding, Binding::Pick(_)))
    };
    match &story.bindings[index].1 {
        Binding::Pick(rule) => {
            grammar.rule(rule)?;
            used.insert(rule.clone());
        }
        Binding::Range(low, high) if low > high => bail!("the range {low}..{high} is empty"),
        Binding::Range(..) => {}
        Binding::Calc(left, _, right) => {
            for name in [left, right] {
                if !is_number(name) {
                    bail!("{name} is not a number bound above");
                }
            }
        }
    }
    Ok(())
}

/// Checks the references of a sentence and adds the rules it uses to `used`.
fn check_references(
    grammar: &Grammar,
    story: &Story,
    template: &Template,
    used: &mut HashSet<String>,
) -> Result<()> {
    for part in template {
        let Part::Reference { name, field, .. } = part else { continue };
        let mut bindings = story.bindings.iter();
        let rule = match bindings.find(|(bound, ..)| bound == name) {
            Some((_, Binding::Pick(rule), _)) => rule,
            Some(_) if NUMBER_FIELDS.contains(&field.as_str()) => {
                if !field.is_empty() {
                    grammar.rule(NUMBER_RULE)?;
                    used.insert(NUMBER_RULE.to_owned());
                }
                continue;
            }
            Some(_) => bail!("a number has no field {field}"),
            None => name,
        };
        grammar.rule(rule)?.field(field)?;
        used.insert(rule.clone());
    }
    Ok(())
}

/// Checks that a rule's template refers only to the rules `above` it.
fn check_rule_template(above: &[Rule], template: &Template) -> Result<()> {
    for part in template {
        let Part::Reference { name, field, .. } = part else { continue };
        match above.iter().find(|rule| rule.name == *name) {
            Some(rule) => rule.field(field)?,
            None => bail!("no rule {name} above this line"),
        };
    }
    Ok(())
}
