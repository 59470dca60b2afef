//! The runner, `cargo x learn`: the learner's files, the process that grades them, what was solved,
//! and the commands.

pub mod work;
pub mod state;
pub mod process;
pub mod trial;
pub mod screen;
pub mod commands;
pub mod help;
pub mod watch;
pub mod check;
pub mod rustlings;

#[cfg(test)]
mod tests;
