//! Repository that the tasks work on.

use std::path::{Path, PathBuf};

/// Root of the repository, independent of the working directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
