//! `cargo x book`: checks the book and builds it into `target/book`; `cargo x book check` only
//! checks its sources.
//!
//! Every chapter is in SUMMARY.md, every included file has the anchor that is named, every figure
//! exists, has an alternative text and is shown, every link to a heading leads to one, and what is
//! shown of a part is a lesson (see `lessons`). Relative links are checked by `cargo x links`,
//! commands by `cargo x readmes`, figures and tables against the code by the tests of the example
//! `book`.

mod chapter;
mod lessons;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chapter::{Chapter, Include};
use lessons::PartFiles;

use crate::repository::{self, has_extension, read};

/// Folder of the chapters, relative to the root of the repository.
const SOURCE: &str = "book/src";
const SUMMARY: &str = "SUMMARY.md";

/// Checks the sources of the book.
///
/// # Errors
/// Lists what is missing.
pub(crate) fn check(root: &Path) -> Result<()> {
    let source = root.join(SOURCE);
    let files = repository::files(&source)?;
    let summary = read(&source.join(SUMMARY))?;
    let mut used = BTreeSet::new();
    let (mut faults, mut n_includes) = (Vec::new(), 0);
    let part_files = PartFiles::read(root, &mut faults)?;
    for path in files.iter().filter(|path| is_chapter(path)) {
        let text = read(&source.join(path))?;
        let chapter = Chapter::parse(&text);
        let mut fault = |what: String| faults.push(format!("{}: {what}", path.display()));
        if !summary.contains(&format!("({})", path.display())) {
            fault(format!("is not in {SUMMARY}"));
        }
        for include in &chapter.includes {
            n_includes += 1;
            used.insert(PathBuf::from(include.file));
            if let Err(error) = check_include(&source, include) {
                fault(format!("{error:#}"));
            }
            if !part_files.may_be_shown(Path::new(include.file.trim_start_matches("../"))) {
                fault(format!("{} is no lesson: its first line has no section", include.file));
            }
        }
        for image in &chapter.images {
            used.insert(PathBuf::from(image.address));
            if !source.join(image.address).is_file() {
                fault(format!("{} does not exist", image.address));
            }
            if image.alt.trim().is_empty() {
                fault(format!("{} has no alternative text", image.address));
            }
        }
        for (file, heading) in &chapter.heading_links {
            let target = if file.is_empty() { text.clone() } else { read(&source.join(file))? };
            if !Chapter::parse(&target).headings.contains(*heading) {
                fault(format!("{file}#{heading}: there is no such heading"));
            }
        }
    }
    let made =
        files.iter().filter(|path| path.starts_with("figures") || path.starts_with("tables"));
    for path in made.filter(|path| !used.contains(*path)) {
        faults.push(format!("{} is shown by no chapter", path.display()));
    }
    ensure!(faults.is_empty(), "the book:\n  {}", faults.join("\n  "));
    println!("book: {n_includes} listings and tables, {} files", files.len());
    println!("parts: {}", part_files.summary());
    Ok(())
}

/// Checks the book and builds it. The program that does it is a workspace of its own, `book/tool`.
///
/// # Errors
/// When a check or the build fails, or a page would load something from elsewhere.
pub(crate) fn build(root: &Path) -> Result<()> {
    check(root)?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "--manifest-path"]);
    command.arg(root.join("book/tool/Cargo.toml"));
    command.arg("--target-dir").arg(root.join("target/book_tool"));
    ensure!(command.status().context("running book/tool")?.success(), "book/tool failed");
    check_pages(&root.join("target/book"))
}

/// Checks that the pages in the folder `pages` load nothing from the network, and that their links
/// lead to files in it.
///
/// # Errors
/// Names the pages that do, and the links that do not.
fn check_pages(pages: &Path) -> Result<()> {
    let mut faults = Vec::new();
    for path in repository::files(pages)?.iter().filter(|path| has_extension(path, "html")) {
        let page = read(&pages.join(path))?;
        if loads_from_elsewhere(&page) {
            faults.push(format!("{} loads something from the network", path.display()));
        }
        for address in page.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let file = address.split('#').next().unwrap_or_default();
            if !file.contains(':') && !pages.join(path).with_file_name(file).exists() {
                faults.push(format!("{}: {address} leads to no page", path.display()));
            }
        }
    }
    ensure!(faults.is_empty(), "pages of the book:\n  {}", faults.join("\n  "));
    Ok(())
}

/// True for a Markdown file that is a page of the book; tables are parts of pages.
fn is_chapter(path: &Path) -> bool {
    has_extension(path, "md") && path != Path::new(SUMMARY) && !path.starts_with("tables")
}

/// Checks that the included file exists, and has the anchor, around something.
fn check_include(source: &Path, include: &Include<'_>) -> Result<()> {
    let text = read(&source.join(include.file))?;
    let Some(anchor) = include.anchor else { return Ok(()) };
    let position = |marker: &str| {
        let is_marker = |line: &str| line.trim().strip_prefix("// ") == Some(marker);
        let mut lines = text.lines().enumerate().filter(|(_, line)| is_marker(line));
        let first = lines.next().map(|(at, _)| at);
        first.filter(|_| lines.next().is_none())
    };
    let (start, end) =
        (position(&format!("ANCHOR: {anchor}")), position(&format!("ANCHOR_END: {anchor}")));
    ensure!(
        matches!((start, end), (Some(start), Some(end)) if end > start + 1),
        "{} has not one anchor {anchor} with an end",
        include.file
    );
    Ok(())
}

/// True if a browser that opens the page would ask another server for something.
fn loads_from_elsewhere(page: &str) -> bool {
    page.split('<').any(|tag| {
        let tag = tag.split('>').next().unwrap_or_default();
        let loads = ["script", "link", "img", "iframe", "source"];
        loads.iter().any(|name| tag.starts_with(name))
            && ["src=\"http", "href=\"http", "src=\"//", "href=\"//"]
                .iter()
                .any(|address| tag.contains(address))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn faults_of_a_book_are_named() -> Result<()> {
        let root = tempfile::tempdir()?;
        let source = root.path().join(SOURCE);
        fs::create_dir_all(source.join("figures"))?;
        fs::write(source.join(SUMMARY), "- [One](one.md)\n")?;
        fs::write(root.path().join("a.rs"), "// ANCHOR: x\nfn x() {}\n// ANCHOR_END: x\n")?;
        fs::write(source.join("figures/a.svg"), "<svg/>")?;
        let good = "# One\n{{#include ../../a.rs:x}}\n![a curve](figures/a.svg) [up](#one)\n";
        fs::write(source.join("one.md"), good)?;
        check(root.path())?;
        for (from, to, fault) in [
            ("a.rs:x", "a.rs:y", "anchor y"),
            ("a.rs:x", "b.rs:x", "b.rs"),
            ("a curve", "", "no alternative text"),
            ("figures/a.svg", "figures/b.svg", "figures/b.svg does not exist"),
            ("![a curve](figures/a.svg)", "", "figures/a.svg is shown by no chapter"),
            ("#one", "#two", "#two: there is no such heading"),
        ] {
            fs::write(source.join("one.md"), good.replacen(from, to, 1))?;
            let message = format!("{:#}", check(root.path()).expect_err(fault));
            assert!(message.contains(fault), "{message}");
        }
        fs::write(source.join("one.md"), good)?;
        fs::write(source.join("two.md"), "# Two\n")?;
        let message = format!("{:#}", check(root.path()).expect_err("not listed"));
        assert!(message.contains("two.md: is not in SUMMARY.md"), "{message}");
        Ok(())
    }

    #[test]
    fn pages_link_to_pages() -> Result<()> {
        let pages = tempfile::tempdir()?;
        let page = "<a href=\"two.html#x\"></a><a href=\"#y\"></a><a href=\"https://x.y\"></a>";
        fs::write(pages.path().join("one.html"), page)?;
        let message = format!("{:#}", check_pages(pages.path()).expect_err("no two.html"));
        assert!(message.contains("one.html: two.html#x leads to no page"), "{message}");
        fs::write(pages.path().join("two.html"), "")?;
        check_pages(pages.path())
    }

    #[test]
    fn the_check_in_a_browser_names_a_page_that_does_not_exist() -> Result<()> {
        if Command::new("python3").arg("--version").output().is_err() {
            return Ok(());
        }
        let book = tempfile::tempdir()?;
        fs::write(book.path().join("index.html"), "")?;
        let mut command = Command::new("python3");
        command.arg(repository::root().join("scripts/check_pages.py"));
        let output = command.args(["two.html", "--book"]).arg(book.path()).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains("no page two.html"), "{error}");
        Ok(())
    }

    #[test]
    fn links_are_no_requests_but_scripts_are() {
        assert!(!loads_from_elsewhere("<a href=\"https://arxiv.org\">x</a><img src=\"a.png\">"));
        assert!(loads_from_elsewhere("<script src=\"https://cdn.x/y.js\"></script>"));
        assert!(loads_from_elsewhere("<link rel=\"stylesheet\" href=\"//x.y/z.css\">"));
    }
}
