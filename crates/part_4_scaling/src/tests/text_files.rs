//! A corpus in chunks teaches what it teaches in one piece.

use anyhow::Result;
use proptest::prelude::*;
use tiny_gpt::builtin_text::BuiltinText;

use crate::pieces::pieces;
use crate::text_files::{chunks, find, read};

proptest! {
    #[test]
    fn chunks_are_cut_where_pieces_are(text in "([ab1.\n\t ]|é|\u{3000}|'s|any){0,80}", size in 0usize..20) {
        let cut: Vec<&str> = chunks(&text, size).flat_map(pieces).collect();
        prop_assert_eq!(cut, pieces(&text).collect::<Vec<_>>());
    }
}

#[test]
fn chunks_are_about_as_long_as_wanted() {
    let text = BuiltinText::Hindi.text();
    let chunks: Vec<&str> = chunks(text, 1000).collect();
    assert_eq!(chunks.concat(), text);
    let (_, whole) = chunks.split_last().unwrap();
    assert!(!whole.is_empty() && whole.iter().all(|chunk| (1000..1200).contains(&chunk.len())));
}

#[test]
fn a_folder_is_its_txt_files_at_any_depth_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("b/deep"))?;
    for name in ["c.txt", "b/deep/x.txt", "a.txt", "b/not.md"] {
        std::fs::write(path(name), name)?;
    }
    assert_eq!(find(folder.path())?, ["a.txt", "b/deep/x.txt", "c.txt"].map(path));
    assert_eq!(read(&path("a.txt"))?, "a.txt");
    Ok(())
}
