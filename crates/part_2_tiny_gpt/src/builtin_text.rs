//! The texts that travel in the program, so that every demo runs offline and from any folder.

/// Built-in training text; `data/README.md` says how the texts were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BuiltinText {
    /// Little English stories, ASCII.
    English,
    /// Little Hindi stories in Devanagari, three bytes a letter.
    Hindi,
}

impl BuiltinText {
    /// The text itself.
    pub fn text(self) -> &'static str {
        match self {
            Self::English => include_str!("../../../data/tiny.txt"),
            Self::Hindi => include_str!("../../../data/tiny_hi.txt"),
        }
    }
}
