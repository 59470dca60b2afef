//! What a grammar file holds, once read: word lists (rules) and story skeletons.
//! Every rule, slot and alternative remembers its line, so that an error can
//! name the place to mend. `parse.rs` does the reading.

use anyhow::{Context, Result};

/// A whole grammar file.
pub(crate) struct Grammar {
    /// The file's name, for error messages.
    pub(crate) file: String,
    /// Where the random generator starts.
    pub(crate) seed: u64,
    /// How many bytes of text to draw, at least.
    pub(crate) bytes: usize,
    /// The named word lists.
    pub(crate) rules: Vec<Rule>,
    /// The story skeletons.
    pub(crate) stories: Vec<Story>,
}

/// A named list of alternatives, each with one template per field.
pub(crate) struct Rule {
    /// The name that references use.
    pub(crate) name: String,
    /// The line of its heading.
    pub(crate) line: usize,
    /// The names of its fields; a rule without a list has one nameless field.
    pub(crate) fields: Vec<String>,
    /// The alternatives, with the line each stands on.
    pub(crate) rows: Vec<(usize, Vec<Template>)>,
}

/// A story skeleton: values fixed for the whole story, then sentence slots.
pub(crate) struct Story {
    /// A name, for error messages.
    pub(crate) name: String,
    /// The line of its heading.
    pub(crate) line: usize,
    /// Name, how to draw the value, and line, in the order they are drawn.
    pub(crate) bindings: Vec<(String, Binding, usize)>,
    /// The sentence slots in order.
    pub(crate) slots: Vec<Slot>,
}

/// How a story fixes one value.
pub(crate) enum Binding {
    /// One alternative of a rule.
    Pick(String),
    /// A number in a range, both ends included.
    Range(usize, usize),
    /// Two earlier numbers put together by `+`, `-` or `*`.
    Calc(String, char, String),
}

/// One sentence slot.
pub(crate) struct Slot {
    /// What joins it to the sentence before: a space or a newline.
    pub(crate) joint: char,
    /// The alternatives, with the line each stands on.
    pub(crate) alternatives: Vec<(usize, Template)>,
}

/// Text with references in it.
pub(crate) type Template = Vec<Part>;

/// A piece of a template.
pub(crate) enum Part {
    /// Text to copy.
    Text(String),
    /// `{style name.field}`: something to look up.
    Reference { style: String, name: String, field: String },
}

impl Grammar {
    /// The rule called `name`.
    pub(crate) fn rule(&self, name: &str) -> Result<&Rule> {
        let found = self.rules.iter().find(|rule| rule.name == name);
        found.with_context(|| format!("no rule {name}"))
    }
}

impl Rule {
    /// The place of the field called `name`; the empty name is the first field.
    pub(crate) fn field(&self, name: &str) -> Result<usize> {
        if name.is_empty() {
            return Ok(0);
        }
        let found = self.fields.iter().position(|field| field == name);
        found.with_context(|| format!("rule {} has no field {name}", self.name))
    }
}

impl Part {
    /// The text of a plain part; a reference has none.
    pub(crate) fn plain(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Reference { .. } => "",
        }
    }
}
