//! Builds the book into `target/book`: mdBook, with formulas as MathML, figures inline, and paths
//! in the repository in place of links that leave the book.

mod figure;
mod formula;

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use mdbook_driver::MDBook;
use mdbook_preprocessor::book::Book;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

fn main() -> Result<()> {
    let mut book = MDBook::load(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    book.with_preprocessor(FormulasAndFigures);
    book.build()?;
    println!("book: {}", book.build_dir_for("html").join("index.html").display());
    Ok(())
}

/// Replaces formulas by MathML and SVG images by their content, so that a page needs no script for
/// the one, and the other has the colors of the theme; and links to files that are no pages by
/// their paths.
struct FormulasAndFigures;

impl Preprocessor for FormulasAndFigures {
    fn name(&self) -> &str {
        "formulas-and-figures"
    }

    fn run(&self, context: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let source = context.root.join(&context.config.book.src);
        let mut result = Ok(());
        book.for_each_chapter_mut(|chapter| {
            let Some(path) = &chapter.path else { return };
            let folder = source.join(path).parent().map(Path::to_path_buf).unwrap_or_default();
            match replace(&chapter.content, &folder) {
                Ok(content) => chapter.content = content,
                Err(error) => result = Err(error.context(path.display().to_string())),
            }
        });
        result.map(|()| book)
    }
}

/// Text of a chapter in `folder` with its formulas and figures replaced.
fn replace(text: &str, folder: &Path) -> Result<String> {
    let mut replaced = text.to_string();
    for (range, html) in replacements(text, folder)?.into_iter().rev() {
        replaced.replace_range(range, &html);
    }
    Ok(replaced)
}

/// Byte ranges of the formulas, figures and links out of the book in `text`, in order, and what
/// stands in their place.
fn replacements(text: &str, folder: &Path) -> Result<Vec<(Range<usize>, String)>> {
    let options = Options::ENABLE_MATH | Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
    let mut replacements = Vec::new();
    let mut figure: Option<(String, String)> = None; // address and alt text
    let (mut in_code, mut in_link) = (false, false);
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                in_code = true;
                let listing = dedent(&text[range.clone()]);
                replacements.extend(listing.map(|listing| (range, listing)));
            }
            Event::End(TagEnd::CodeBlock) => in_code = false,
            Event::InlineMath(tex) => replacements.push((range, formula::inline(&tex)?)),
            Event::DisplayMath(tex) => replacements.push((range, formula::display(&tex)?)),
            Event::Start(Tag::Image { dest_url, .. }) if dest_url.ends_with(".svg") => {
                figure = Some((dest_url.to_string(), String::new()));
            }
            Event::End(TagEnd::Image) => {
                if let Some((address, alt)) = figure.take() {
                    let svg = fs::read_to_string(folder.join(&address))
                        .with_context(|| format!("reading {address}"))?;
                    replacements.push((range, figure::inline(&svg, &alt)));
                }
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                in_link = true;
                let path = path_in_repository(&dest_url, folder);
                replacements.extend(path.map(|path| (range.clone(), code(&text[range], &path))));
            }
            Event::End(TagEnd::Link) => in_link = false,
            Event::Code(words) if words.contains("--") && figure.is_none() && !in_link => {
                replacements.push((range, unbroken_flags(&words)));
            }
            Event::Text(words) if words.contains('$') && !in_code => {
                bail!("a formula does not end, or its braces do not match: {words}");
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some((_, alt)) = &mut figure {
                    alt.push_str(&words);
                }
            }
            Event::SoftBreak => {
                if let Some((_, alt)) = &mut figure {
                    alt.push(' ');
                }
            }
            _ => {}
        }
    }
    Ok(replacements)
}

/// Path in the repository to which `address` leads from a chapter in `folder`, if it leads to
/// something that is not part of the book.
fn path_in_repository(address: &str, folder: &Path) -> Option<String> {
    let file = address.split('#').next().filter(|file| !file.is_empty() && !file.contains(':'))?;
    let path = file.strip_prefix("../..").map(|path| path.trim_matches('/'));
    match path {
        Some("") => Some("README.md".to_string()),
        Some(path) => Some(path.to_string()),
        None => (!folder.join(file).exists()).then(|| file.to_string()),
    }
}

/// Words of the Markdown `link`, and `path` as code, once if they are the same.
fn code(link: &str, path: &str) -> String {
    let words = link.strip_prefix('[').and_then(|link| link.split("](").next()).unwrap_or(link);
    match words.trim_matches('`') == path {
        true => format!("`{path}`"),
        false => format!("{words} (`{path}`)"),
    }
}

/// Code whose flags are kept on one line each: a browser would break them after their dashes.
fn unbroken_flags(code: &str) -> String {
    let escaped = code.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let words = escaped.split(' ').map(|word| match word.starts_with('-') {
        true => format!("<span>{word}</span>"),
        false => word.to_string(),
    });
    protect(&format!("<code>{}</code>", words.collect::<Vec<_>>().join(" ")))
}

/// Fenced listing `block` without the indentation that all of its lines share, if they do.
fn dedent(block: &str) -> Option<String> {
    let lines: Vec<&str> = block.trim_end().lines().collect();
    let (first, last) = (lines.first()?, lines.last()?);
    let inside = lines.get(1..lines.len() - 1)?;
    let filled = inside.iter().filter(|line| !line.trim().is_empty());
    let indentation = filled.map(|line| line.len() - line.trim_start().len()).min()?;
    let listing = inside.iter().map(|line| line.get(indentation..).unwrap_or_default());
    (indentation > 0 && first.starts_with("```rust")).then(|| {
        let listing: Vec<&str> = [*first].into_iter().chain(listing).chain([*last]).collect();
        listing.join("\n")
    })
}

/// HTML on one line, in whose text Markdown finds nothing to do.
fn protect(html: &str) -> String {
    let mut protected = String::with_capacity(html.len());
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ => {}
        }
        match c {
            '\n' => protected.push(' '),
            '*' | '_' | '[' | ']' | '\\' | '`' | '~' | '\'' | '|' | '$' | '"' | ':' if !in_tag => {
                protected.push_str(&format!("&#{};", u32::from(c)));
            }
            _ => protected.push(c),
        }
    }
    protected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_mathml_and_code_stays() {
        let html = replace("A $x_1$ and `$y$`.\n\n```text\n$z$\n```\n", Path::new("")).expect("ok");
        assert!(html.contains("<math") && html.contains("`$y$`") && html.contains("$z$"), "{html}");
        assert!(!html.contains("$x_1$"));
    }

    #[test]
    fn a_formula_that_cannot_be_read_is_an_error() {
        assert!(replace("$\\frac{1$", Path::new("")).is_err());
        assert!(replace("$\\nosuchthing$", Path::new("")).is_err());
    }

    #[test]
    fn attributes_of_large_delimiters_are_apart() {
        let html = replace("$\\Big( x \\Big)$", Path::new("")).expect("a formula");
        assert!(html.contains("\" minsize=") && !html.contains("\"minsize"), "{html}");
    }

    #[test]
    fn a_listing_loses_the_indentation_that_all_lines_share() {
        let text = "```rust\n    fn f() {\n        1\n    }\n```\n";
        let html = replace(text, Path::new("")).expect("a listing");
        assert_eq!(html, "```rust\nfn f() {\n    1\n}\n```\n");
    }

    #[test]
    fn a_link_out_of_the_book_becomes_a_path() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let replaced = |text: &str| replace(text, folder).expect("ok");
        for (link, expected) in [
            ("[part 6](../../crates/part_6_sft)", "part 6 (`crates/part_6_sft`)"),
            ("[the README](../..)", "the README (`README.md`)"),
            ("[`a.txt`](a.txt)", "`a.txt`"),
        ] {
            assert_eq!(replaced(&format!("See {link}.")), format!("See {expected}."));
        }
        for link in ["[here](#top)", "[a page](Cargo.toml#top)", "[there](https://x.y)"] {
            assert_eq!(replaced(link), link);
        }
    }

    #[test]
    fn flags_in_code_are_not_broken() {
        let html = replace("Run `a --b <c>`, not `a_b`.", Path::new("")).expect("ok");
        let code = "<code>a <span>--b</span> &lt;c&gt;</code>";
        assert_eq!(html, format!("Run {code}, not `a_b`."));
    }

    #[test]
    fn text_between_tags_is_no_markdown() {
        assert_eq!(protect("<mo title='*'>*</mo>\n"), "<mo title='*'>&#42;</mo> ");
    }
}
