//! Planted offences of each kind, and what is allowed.

use std::fs;

use super::*;

/// The names are invented, because this file is checked like any other.
const RETIRED_NAMES: &str = "# a comment\nOldThing -> NewThing\n--old-flag -> --new-flag\n\
    \"old_key\" -> \"new_key\"\n";

/// A repository of one file `crates/part_6_sft/src/lib.rs` with `code`, and a glossary.
fn checked(code: &str, glossary: &str) -> Result<String> {
    let root = tempfile::tempdir()?;
    let src = root.path().join("crates/part_6_sft/src");
    fs::create_dir_all(&src)?;
    fs::write(src.join("lib.rs"), code)?;
    fs::write(root.path().join(GLOSSARY), glossary)?;
    fs::write(root.path().join(RETIRED), RETIRED_NAMES)?;
    Ok(check(root.path()).err().map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn clean_code_passes() -> Result<()> {
    let code = "/// Tokenizer.\npub struct NewThing {\n    pub eos: u32,\n}\n\
        // OldThing was its name, and --old-flag a flag.\n";
    let glossary = "| chat tokenizer | a sentence | | `sft::NewThing::eos` | 6 |\n";
    assert_eq!(checked(code, glossary)?, "");
    Ok(())
}

#[test]
fn each_kind_of_offence_is_named_with_file_and_line() -> Result<()> {
    let place = |line: usize| format!("crates/part_6_sft/src/lib.rs:{line}: ");
    for (code, expected) in [
        ("\nfn f(x: OldThing) {}\n", place(2) + "OldThing is now NewThing"),
        ("const F: &str = \"--old-flag\";\n", place(1) + "--old-flag is now --new-flag"),
        ("const K: &str = \"old_key\";\n", place(1) + "\"old_key\" is now"),
        (&format!("\n\n//{}\n", "x".repeat(99)), place(3) + "101 columns are more than 100"),
        ("/// What it is.\npub struct A;\n", place(1) + "a doc comment that opens with"),
        ("/// The same.\npub struct A;\n", place(1) + "a doc comment that opens with"),
    ] {
        let error = checked(code, "")?;
        assert!(error.contains(&expected), "{code:?} gave {error:?}");
    }
    let error = checked("struct NewThing;\n", "\n| a | b | | `sft::Gone` | 6 |\n")?;
    assert!(error.contains("GLOSSARY.md:2: `sft::Gone` is in the glossary"), "{error}");
    Ok(())
}

#[test]
fn aliases_tables_and_addresses_may_hold_what_is_refused_elsewhere() -> Result<()> {
    let wide = "x".repeat(120);
    let code = format!("#[arg(long, alias = \"old-flag\")] // --old-flag\n// https://{wide}\n");
    assert_eq!(checked(&code, &format!("| {wide} |\n"))?, "");
    Ok(())
}

#[test]
fn a_library_is_the_last_word_of_its_parts_folder_whatever_the_number() {
    let file = |path: &str| (PathBuf::from(path), "struct A;".to_string());
    let files = [file("crates/part_10_dpo/src/lib.rs"), file("crates/part_9_grpo/src/lib.rs")];
    let files = files.into_iter().collect();
    for library in ["dpo", "grpo"] {
        assert!(code_of(library, &files).contains("struct A"), "{library}");
    }
}
