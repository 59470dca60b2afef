//! `cargo x layers`: the direction of the course, read from cargo itself and enforced.
//!
//! part_N may use tensor_core and lower parts; tensor_core uses no crate of ours; only examples and benches use all.

use anyhow::{Result, bail};
use cargo_metadata::MetadataCommand;

/// Fails if a crate depends on one that it must not know.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let ours: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| ours.contains(&d.name.as_str())) {
            if !may_use(&package.name, &dependency.name) {
                wrong.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("the layers are broken: {}", wrong.join("; "));
    }
    println!("layers: {} crates, each looks back only", ours.len());
    Ok(())
}

/// Whether crate `user` may depend on our crate `used`.
fn may_use(user: &str, used: &str) -> bool {
    match (part_number(user), part_number(used)) {
        (Some(user), Some(used)) => used < user,
        (Some(_), None) => used == "tensor_core",
        (None, _) => ["examples", "benches", "exercises"].contains(&user),
    }
}

fn part_number(name: &str) -> Option<u32> {
    name.strip_prefix("part_")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::may_use;

    #[test]
    fn parts_look_back_and_the_core_knows_nobody() {
        assert!(may_use("part_10", "part_9"));
        assert!(may_use("part_1", "tensor_core"));
        assert!(may_use("examples", "part_2"));
        assert!(!may_use("part_1", "part_2"));
        assert!(!may_use("part_2", "part_2"));
        assert!(!may_use("part_2", "part_10"), "as numbers, not as text");
        assert!(!may_use("part_2", "examples"));
        assert!(!may_use("tensor_core", "part_1"));
        assert!(!may_use("xtask", "tensor_core"));
    }
}
