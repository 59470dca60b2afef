//! Circles of imports: files that import from each other, directly or through others.
//!
//! All files that can reach each other by imports form one strongly connected component, which is
//! reported once, with a shortest circle in it as the place to begin.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};

use super::imports::ImportGraph;

/// Strongly connected component of an import graph.
#[derive(Debug, PartialEq)]
pub(crate) struct Circle {
    /// Files of the component, sorted.
    pub(crate) files: Vec<PathBuf>,
    /// Imports of a shortest circle in the component, in order; the last leads back to the first.
    pub(crate) shortest: Vec<Import>,
}

/// Import of a circle.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    /// File that imports.
    pub(crate) from: PathBuf,
    /// Items that it imports from the next file of the circle, such as `matrix::QuantizedMatrix`.
    pub(crate) items: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let first = self.files.first().map_or(Path::new(""), PathBuf::as_path);
        let source = first.ancestors().find(|folder| folder.ends_with("src"));
        let source = source.unwrap_or(Path::new(""));
        let short = |file: &Path| file.strip_prefix(source).unwrap_or(file).display().to_string();
        let files: Vec<String> = self.files.iter().map(|file| short(file)).collect();
        write!(f, "{}: {} files import from each other: ", source.display(), files.len())?;
        write!(f, "{}", files.join(", "))?;
        for import in &self.shortest {
            write!(f, "\n    {} uses {}", short(&import.from), import.items.join(", "))?;
        }
        Ok(())
    }
}

/// One message for each circle of `graphs`; a circle in two of them is reported once.
pub(crate) fn violations(graphs: &[ImportGraph]) -> Vec<String> {
    let mut messages = BTreeMap::new();
    for circle in graphs.iter().flat_map(circles) {
        let message = circle.to_string();
        messages.entry(circle.files).or_insert(message);
    }
    messages.into_values().collect()
}

/// Strongly connected components of `graph` with more than one file.
pub(crate) fn circles(graph: &ImportGraph) -> Vec<Circle> {
    let all_reachable: BTreeMap<&Path, BTreeMap<&Path, &Path>> =
        graph.importers().map(|file| (file, reachable_from(file, graph))).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (file, reachable) in &all_reachable {
        let is_known = circles.iter().any(|circle| circle.files.iter().any(|f| f == file));
        if is_known || !reachable.contains_key(file) {
            continue;
        }
        let returns =
            |other: &&Path| all_reachable.get(other).is_some_and(|r| r.contains_key(file));
        let files: Vec<&Path> = reachable.keys().copied().filter(returns).collect();
        let paths = files.iter().map(|file| path_back(file, &all_reachable[file]));
        let shortest = paths.min_by_key(Vec::len).unwrap_or_default();
        let files = files.iter().map(|file| file.to_path_buf()).collect();
        circles.push(Circle { files, shortest: imports(&shortest, graph) });
    }
    circles
}

/// Files that imports lead to from `start`, breadth first, each with the file before it on a
/// shortest path. `start` is among them if it is part of a circle.
fn reachable_from<'a>(start: &'a Path, graph: &'a ImportGraph) -> BTreeMap<&'a Path, &'a Path> {
    let (mut before, mut queue) = (BTreeMap::new(), VecDeque::from([start]));
    while let Some(file) = queue.pop_front() {
        for next in graph.imports_of(file) {
            before.entry(next).or_insert_with(|| {
                queue.push_back(next);
                file
            });
        }
    }
    before
}

/// Files of a shortest circle through `start`, from it on.
fn path_back<'a>(start: &'a Path, before: &BTreeMap<&'a Path, &'a Path>) -> Vec<&'a Path> {
    let mut path = vec![before[start]];
    while path[path.len() - 1] != start {
        path.push(before[path[path.len() - 1]]);
    }
    path.reverse();
    path
}

fn imports(circle: &[&Path], graph: &ImportGraph) -> Vec<Import> {
    let next = circle.iter().cycle().skip(1);
    let pairs = circle.iter().zip(next);
    pairs
        .map(|(from, to)| Import {
            from: from.to_path_buf(),
            items: graph.items(from, to).map(str::to_string).collect(),
        })
        .collect()
}
