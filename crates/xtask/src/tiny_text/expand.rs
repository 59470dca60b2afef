//! Expansion of a story skeleton into a story: draws a value for each binding, then an alternative
//! for each slot. A binding is drawn once per story, so that a hero keeps its name and pronoun.

use anyhow::{Context, Result, anyhow, bail};

use super::grammar::{Binding, Grammar, Part, Rule, Story, Template};
use super::random::SplitMix64;
use super::style::{capital, number_text, styled};

/// A value fixed for one story.
enum Value {
    /// A row of a rule: its index and its expanded fields.
    Row(usize, Vec<String>),
    /// A number.
    Number(usize),
}

/// State of the expansion of a story: the grammar, the values drawn so far, the generator.
struct Expander<'a> {
    grammar: &'a Grammar,
    story: &'a Story,
    values: Vec<Value>,
    rng: &'a mut SplitMix64,
}

/// Draws one story. It ends with a newline.
pub(crate) fn story(grammar: &Grammar, story: &Story, rng: &mut SplitMix64) -> Result<String> {
    let at = |line: usize| move |error| anyhow!("{}:{line}: {error:#}", grammar.file);
    let mut expander = Expander { grammar, story, values: Vec::new(), rng };
    for (_, binding, line) in &story.bindings {
        let value = expander.draw(binding).map_err(at(*line))?;
        expander.values.push(value);
    }
    let mut text = String::new();
    for slot in &story.slots {
        let (line, template) = &slot.alternatives[expander.rng.below(slot.alternatives.len())];
        if !text.is_empty() {
            text.push(slot.joint);
        }
        // A slot starts a sentence, so a reference at its start is capitalized too.
        text.push_str(&capital(&expander.template(template).map_err(at(*line))?));
    }
    text.push('\n');
    Ok(text)
}

impl Expander<'_> {
    fn draw(&mut self, binding: &Binding) -> Result<Value> {
        match binding {
            Binding::Pick(name) => {
                let rule = self.grammar.rule(name)?;
                let row = self.free_row(rule)?;
                let cells = rule.rows[row].1.iter().map(|cell| self.template(cell));
                Ok(Value::Row(row, cells.collect::<Result<_>>()?))
            }
            Binding::Range(low, high) => Ok(Value::Number(low + self.rng.below(high - low + 1))),
            Binding::Calc(left, sign, right) => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                let result = match sign {
                    '+' => left.checked_add(right),
                    '-' => left.checked_sub(right),
                    _ => left.checked_mul(right),
                };
                Ok(Value::Number(result.with_context(|| format!("{left} {sign} {right}"))?))
            }
        }
    }

    /// Random row of `rule` that is not bound yet: two children in a story must not share a name.
    fn free_row(&mut self, rule: &Rule) -> Result<usize> {
        let bound = self.story.bindings.iter().zip(&self.values);
        let taken = bound.filter_map(|((_, binding, _), value)| match (binding, value) {
            (Binding::Pick(name), Value::Row(row, _)) if *name == rule.name => Some(*row),
            _ => None,
        });
        let taken: Vec<usize> = taken.collect();
        let free = (0..rule.rows.len()).filter(|row| !taken.contains(row));
        let free: Vec<usize> = free.collect();
        if free.is_empty() {
            bail!("all rows of the rule {} are already bound", rule.name);
        }
        Ok(free[self.rng.below(free.len())])
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let index = self.story.bindings.iter().position(|(bound, ..)| bound == name)?;
        self.values.get(index)
    }

    fn number(&self, name: &str) -> Result<usize> {
        match self.value(name) {
            Some(Value::Number(number)) => Ok(*number),
            _ => bail!("{name} is not a number"),
        }
    }

    fn template(&mut self, template: &Template) -> Result<String> {
        let mut text = String::new();
        for part in template {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Reference { style, name, field } => {
                    let words = self.look_up(name, field)?;
                    text.push_str(&styled(style, &words));
                }
            }
        }
        Ok(text)
    }

    fn look_up(&mut self, name: &str, field: &str) -> Result<String> {
        match self.value(name) {
            Some(Value::Number(number)) => number_text(self.grammar, *number, field),
            Some(Value::Row(_, cells)) => {
                let index = self.story.bindings.iter().find(|(bound, ..)| bound == name);
                let Some((_, Binding::Pick(rule), _)) = index else { bail!("{name} has no rule") };
                Ok(cells[self.grammar.rule(rule)?.field(field)?].clone())
            }
            None => {
                let rule = self.grammar.rule(name)?;
                let row = &rule.rows[self.rng.below(rule.rows.len())].1;
                self.template(&row[rule.field(field)?])
            }
        }
    }
}
