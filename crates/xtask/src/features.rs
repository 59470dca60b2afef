//! `cargo x features`: checks that every command builds a dependency with the same features.
//!
//! Cargo gives a dependency the features that the packages it builds ask for. A package alone asks
//! for less than the workspace, so `cargo run -p part_2` after `cargo test` would build candle
//! again. The package [`UNION`] asks for what all ask for, and all depend on it.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, ensure};
use cargo_metadata::MetadataCommand;

/// Package that names the union of the features. It is not built alone.
const UNION: &str = "workspace_hack";

/// Checks the members of the workspace, each alone, with and without its tests.
///
/// # Errors
/// Lists the dependencies that a member would build differently.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let of_workspace = builds(&["--workspace"])?;
    let mut faults = Vec::new();
    for package in metadata.packages.iter().filter(|package| package.name != UNION) {
        for tests in [&["--edges", "normal,build"][..], &[]] {
            let alone = builds(&[&["--package", package.name.as_str()], tests].concat())?;
            faults.extend(differences(&package.name, &alone, &of_workspace));
        }
    }
    faults.dedup();
    ensure!(
        faults.is_empty(),
        "features that are to be added to {UNION} or the workspace:\n{}",
        faults.join("\n")
    );
    println!("features: {} packages share one build of each dependency", metadata.packages.len());
    Ok(())
}

/// Dependencies, each a line of name, version and features, that cargo builds for the packages that
/// `selection` names.
fn builds(selection: &[&str]) -> Result<BTreeSet<String>> {
    let format = ["tree", "--prefix", "none", "--format", "{p} {f}"];
    let tree = Command::new(env!("CARGO")).args(format).args(selection).output()?;
    ensure!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    Ok(parse_builds(&String::from_utf8_lossy(&tree.stdout)))
}

/// Lines of cargo's tree that name a package of a registry.
fn parse_builds(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)").replace(" (proc-macro)", ""));
    // The path of a member is in parentheses; headings are in brackets.
    lines.filter(|line| line.contains(" v") && !line.contains('(')).collect()
}

/// Dependencies that `package` alone builds with features that the workspace has nowhere.
fn differences(
    package: &str,
    alone: &BTreeSet<String>,
    of_workspace: &BTreeSet<String>,
) -> Vec<String> {
    let name_and_version = |line: &str| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
    let fault = |line: &String| {
        let name = name_and_version(line);
        let others = of_workspace.iter().filter(|other| name_and_version(other) == name);
        let others: Vec<&str> = others.map(|other| other[name.len()..].trim()).collect();
        format!(
            "{package} alone builds {name} with [{}], the workspace with [{}]",
            line[name.len()..].trim(),
            others.join("] and [")
        )
    };
    alone.difference(of_workspace).map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::{differences, parse_builds};

    #[test]
    fn a_dependency_with_fewer_features_than_in_the_workspace_is_named() {
        let workspace = "examples v0.0.0 (/a)\nserde v1.0.0 derive,std\nserde_derive v1.0.0 \
            (proc-macro) default\nserde v1.0.0 derive,std (*)\n[dev-dependencies]\n";
        let workspace = parse_builds(workspace);
        let alone = parse_builds("part_1 v0.0.0 (/b)\nserde v1.0.0 std\n");
        assert_eq!(workspace.len(), 2, "{workspace:?}");
        assert_eq!(
            differences("part_1", &alone, &workspace),
            ["part_1 alone builds serde v1.0.0 with [std], the workspace with [derive,std]"]
        );
        assert!(differences("part_1", &workspace, &workspace).is_empty());
    }
}
