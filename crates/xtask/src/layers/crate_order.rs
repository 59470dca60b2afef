//! Order of the packages: each depends on packages below it only.
//!
//! From the bottom: tensor_core; the support crates ranks, model_io, datasets and experiment; the
//! parts in course order; examples, benches and exercises, which may use everything. xtask stands
//! apart. workspace_hack, which has no code, is below all.

use cargo_metadata::Metadata;

/// Support crates, each with the packages of the workspace that it may depend on.
const SUPPORT: [(&str, &[&str]); 4] = [
    ("ranks", &["tensor_core"]),
    ("model_io", &["tensor_core"]),
    ("datasets", &["tensor_core", "model_io"]),
    ("experiment", &["tensor_core", "ranks"]),
];
/// Packages that may depend on all others.
const UNRESTRICTED: [&str; 4] = ["examples", "benches", "exercises", "learner"];

/// Dependencies of the workspace that [`may_use`] refuses, those for tests and build scripts too.
pub(crate) fn violations(metadata: &Metadata) -> Vec<String> {
    let workspace: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let (user, used) = (package.name.as_str(), dependency.name.as_str());
            if workspace.contains(&used) && !may_use(user, used) {
                violations.push(format!("{user} must not depend on {used}"));
            }
        }
    }
    violations
}

/// True if package `user` may depend on package `used` of the workspace.
pub(crate) fn may_use(user: &str, used: &str) -> bool {
    if UNRESTRICTED.contains(&user) || used == "workspace_hack" {
        return true;
    }
    if let Some((_, below)) = SUPPORT.iter().find(|(support, _)| *support == user) {
        return below.contains(&used);
    }
    match (part_number(user), part_number(used)) {
        (Some(user), Some(used)) => used < user,
        (Some(_), None) => {
            used == "tensor_core" || SUPPORT.iter().any(|(support, _)| *support == used)
        }
        (None, _) => false,
    }
}

fn part_number(name: &str) -> Option<u32> {
    name.strip_prefix("part_")?.parse().ok()
}
