//! The learner's process: it grades one function and leaves the verdict in a file.

use std::path::Path;

use crate::grading::GradeReport;

/// Runs `judge` and writes its verdict to the file that the first argument names.
pub fn report(judge: impl FnOnce() -> GradeReport) {
    report_all(|| vec![judge()]);
}

/// Runs `judge` and writes its verdicts to the file that the first argument names.
pub fn report_all(judge: impl FnOnce() -> Vec<GradeReport>) {
    // A panic is one answer among others; its message goes into the verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let verdicts = judge();
    let Some(path) = std::env::args().nth(1) else { return };
    if let Err(error) = tensor_core::json_file::write(Path::new(&path), &verdicts) {
        eprintln!("{error:#}");
    }
}
