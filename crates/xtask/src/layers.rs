//! `cargo x layers`: checks the direction of the dependencies, as cargo reports them.
//!
//! part_N may use tensor_core and parts below N; tensor_core uses no other crate of the workspace;
//! only examples, benches and exercises may use all crates.

use anyhow::{Result, bail};
use cargo_metadata::MetadataCommand;

/// Fails if a crate depends on one that is not below it.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let workspace: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in &metadata.packages {
        for dependency in
            package.dependencies.iter().filter(|d| workspace.contains(&d.name.as_str()))
        {
            if !may_use(&package.name, &dependency.name) {
                violations.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    if !violations.is_empty() {
        bail!("wrong dependencies: {}", violations.join("; "));
    }
    println!("layers: {} crates, no dependency on a later one", workspace.len());
    Ok(())
}

/// True if crate `user` may depend on crate `used` of the workspace.
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
    fn parts_depend_on_earlier_parts_and_the_core_on_none() {
        assert!(may_use("part_10", "part_9"));
        assert!(may_use("part_1", "tensor_core"));
        assert!(may_use("examples", "part_2"));
        assert!(!may_use("part_1", "part_2"));
        assert!(!may_use("part_2", "part_2"));
        assert!(!may_use("part_2", "part_10"), "numbers are compared, not texts");
        assert!(!may_use("part_2", "examples"));
        assert!(!may_use("tensor_core", "part_1"));
        assert!(!may_use("xtask", "tensor_core"));
    }
}
