//! The tools of part 8.

fn main() {}
