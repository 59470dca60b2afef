//! Parser of grammar files. The format is line-based, so that a story can be added without knowing
//! Rust; the header comment of `data/grammar/english.txt` explains it.

use anyhow::{Context, Result, anyhow, bail};

use super::grammar::{Binding, Grammar, Part, Rule, Slot, Story, Template};
use super::validate;

impl Grammar {
    /// Parses and validates `text`, the contents of the file `file`.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self> {
        let (rules, stories) = (Vec::new(), Vec::new());
        let mut grammar = Self { file: file.to_owned(), seed: 0, bytes: 0, rules, stories };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = match line.strip_prefix("  ") {
                Some(body) if grammar.stories.is_empty() => grammar.row(body.trim(), number),
                Some(body) => grammar.story_line(body.trim(), number),
                None => grammar.heading(line.trim(), number),
            };
            parsed.map_err(|error| anyhow!("{file}:{number}: {error:#}"))?;
        }
        validate::validate(&grammar)?;
        Ok(grammar)
    }

    fn heading(&mut self, text: &str, line: usize) -> Result<()> {
        let (keyword, rest) = text.split_once(' ').context("a heading needs a name")?;
        match keyword {
            "seed" => self.seed = rest.parse().context("the seed must be a number")?,
            "bytes" => self.bytes = rest.parse().context("bytes must be a number")?,
            // All rules come before all stories, so the owner of an indented line is unambiguous.
            "rule" if !self.stories.is_empty() => bail!("rules must come before stories"),
            "rule" => {
                let (name, fields) = rest.split_once(':').unwrap_or((rest, ""));
                let mut fields: Vec<_> = fields.split_whitespace().map(str::to_owned).collect();
                if fields.is_empty() {
                    fields.push(String::new());
                }
                self.rules.push(Rule { name: name.to_owned(), line, fields, rows: Vec::new() });
            }
            "story" => {
                let (bindings, slots) = (Vec::new(), Vec::new());
                self.stories.push(Story { name: rest.to_owned(), line, bindings, slots });
            }
            other => bail!("unknown heading {other}"),
        }
        Ok(())
    }

    fn row(&mut self, text: &str, line: usize) -> Result<()> {
        let rule = self.rules.last_mut().context("an indented line before any rule")?;
        for alternative in text.split(" / ") {
            let row = alternative.split('|').map(|cell| template(cell.trim()));
            let row = row.collect::<Result<Vec<_>>>()?;
            if row.len() != rule.fields.len() {
                bail!("'{alternative}' has {} fields, not {}", row.len(), rule.fields.len());
            }
            rule.rows.push((line, row));
        }
        Ok(())
    }

    fn story_line(&mut self, text: &str, line: usize) -> Result<()> {
        let story = self.stories.last_mut().context("an indented line before any story")?;
        let (mark, rest) = text.split_once(' ').context("a story line needs a mark and text")?;
        match mark {
            "let" => story.bindings.push(binding(rest, line)?),
            "-" => story.slots.push(Slot { joint: ' ', alternatives: Vec::new() }),
            "+" => story.slots.push(Slot { joint: '\n', alternatives: Vec::new() }),
            "/" => {}
            other => bail!("a story line starts with let, -, + or /, not {other}"),
        }
        if mark != "let" {
            let slot = story.slots.last_mut().context("an alternative before any slot")?;
            for alternative in rest.split(" / ") {
                slot.alternatives.push((line, template(alternative.trim())?));
            }
        }
        Ok(())
    }
}

/// Parses `name = rule`, `name = 2..9` or `name = left + right`.
fn binding(text: &str, line: usize) -> Result<(String, Binding, usize)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (name, value) = match words[..] {
        [name, "=", value] => match value.split_once("..") {
            Some((low, high)) => (name, Binding::Range(low.parse()?, high.parse()?)),
            None => (name, Binding::Pick(value.to_owned())),
        },
        [name, "=", left, sign @ ("+" | "-" | "*"), right] => {
            let sign = sign.chars().next().unwrap_or('+');
            (name, Binding::Calc(left.to_owned(), sign, right.to_owned()))
        }
        _ => bail!("let needs: name = rule, name = 2..9 or name = left + right"),
    };
    Ok((name.to_owned(), value, line))
}

/// Splits text at its references.
fn template(text: &str) -> Result<Template> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, tail) = after.split_once('}').context("a { without its }")?;
        let (style, path) = match inside.strip_prefix('^') {
            Some(path) => ("^", path),
            None => inside.split_once(' ').unwrap_or(("", inside)),
        };
        let (name, field) = path.split_once('.').unwrap_or((path, ""));
        if !["", "^", "a", "A"].contains(&style) {
            bail!("unknown style {style} in {{{inside}}}");
        }
        parts.push(Part::Text(before.to_owned()));
        let [style, name, field] = [style, name, field].map(str::to_owned);
        parts.push(Part::Reference { style, name, field });
        rest = tail;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}
