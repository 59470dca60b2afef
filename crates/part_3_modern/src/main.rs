//! The tools of part 3.

fn main() {}
