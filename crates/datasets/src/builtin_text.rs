//! Built-in training texts: compiled into the program, so that every demo runs offline and from any
//! folder.

/// Built-in training text; `data/README.md` says how the texts were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BuiltinText {
    /// Short English stories, ASCII
    English,
    /// Short Hindi stories in Devanagari, three bytes per letter
    Hindi,
}

impl BuiltinText {
    /// Contents of the text.
    pub fn text(self) -> &'static str {
        match self {
            Self::English => include_str!("../../../data/tiny.txt"),
            Self::Hindi => include_str!("../../../data/tiny_hi.txt"),
        }
    }
}
