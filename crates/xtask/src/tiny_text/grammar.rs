//! A parsed grammar file: word lists (rules) and story skeletons. Rules, bindings and alternatives
//! keep their line numbers for error messages. The parser is in `parse.rs`.

use anyhow::{Context, Result};

/// A grammar file.
pub(crate) struct Grammar {
    /// File name, for error messages.
    pub(crate) file: String,
    /// Seed of the random generator.
    pub(crate) seed: u64,
    /// Minimum size of the text in bytes.
    pub(crate) bytes: usize,
    /// Named word lists.
    pub(crate) rules: Vec<Rule>,
    /// Story skeletons.
    pub(crate) stories: Vec<Story>,
}

/// A named list of alternatives, each with one template per field.
pub(crate) struct Rule {
    /// Name used by references.
    pub(crate) name: String,
    /// Line of the heading.
    pub(crate) line: usize,
    /// Names of the fields; a rule without a field list has one field with an empty name.
    pub(crate) fields: Vec<String>,
    /// Alternatives, each with its line.
    pub(crate) rows: Vec<(usize, Vec<Template>)>,
}

/// A story skeleton: values fixed for the whole story, then sentence slots.
pub(crate) struct Story {
    /// Name, for error messages.
    pub(crate) name: String,
    /// Line of the heading.
    pub(crate) line: usize,
    /// Name, binding and line of each value, in the order in which they are drawn.
    pub(crate) bindings: Vec<(String, Binding, usize)>,
    /// Sentence slots in order.
    pub(crate) slots: Vec<Slot>,
}

/// Source of a value that is fixed for one story.
pub(crate) enum Binding {
    /// One alternative of a rule.
    Pick(String),
    /// A number in a range, both ends included.
    Range(usize, usize),
    /// Result of `+`, `-` or `*` on two earlier numbers.
    Calc(String, char, String),
}

/// One sentence slot.
pub(crate) struct Slot {
    /// Separator from the previous sentence: a space or a newline.
    pub(crate) joint: char,
    /// Alternatives, each with its line.
    pub(crate) alternatives: Vec<(usize, Template)>,
}

/// Text with references.
pub(crate) type Template = Vec<Part>;

/// A piece of a template.
pub(crate) enum Part {
    /// Literal text.
    Text(String),
    /// Reference `{style name.field}` to a value or a rule.
    Reference { style: String, name: String, field: String },
}

impl Grammar {
    /// Rule with this name.
    pub(crate) fn rule(&self, name: &str) -> Result<&Rule> {
        let rule = self.rules.iter().find(|rule| rule.name == name);
        rule.with_context(|| format!("no rule {name}"))
    }
}

impl Rule {
    /// Index of the field `name`; the empty name refers to the first field.
    pub(crate) fn field(&self, name: &str) -> Result<usize> {
        if name.is_empty() {
            return Ok(0);
        }
        let index = self.fields.iter().position(|field| field == name);
        index.with_context(|| format!("rule {} has no field {name}", self.name))
    }
}

impl Part {
    /// Literal text; empty for a reference.
    pub(crate) fn plain(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Reference { .. } => "",
        }
    }
}
