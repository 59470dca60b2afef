//! Data: files that belong to a corpus.

use anyhow::Result;

use crate::corpus::find_text_files;

#[test]
fn a_folder_gives_its_txt_files_at_any_depth_sorted_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("b/deep"))?;
    for name in ["c.txt", "b/deep/x.txt", "a.txt", "b/not.md"] {
        std::fs::write(path(name), name)?;
    }
    assert_eq!(find_text_files(folder.path())?, ["a.txt", "b/deep/x.txt", "c.txt"].map(path));
    Ok(())
}
