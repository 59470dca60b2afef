//! What tests ask of the world outside: real files, and what other programs say. Where these are missing, tests say that
//! they skipped and pass.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code of a script that lacks what it needs, such as torch or transformers.
const SKIPPED: i32 = 77;

/// The file of `$COURSE_DATA` at this path, if it is there.
pub fn course_data(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("COURSE_DATA").map(|folder| PathBuf::from(folder).join(file));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: no $COURSE_DATA/{file}");
    }
    path
}

/// Panics unless this script of the folder `scripts` agrees, by exit code 0, with what it is given. It is run by
/// `$COURSE_PYTHON` (else `python3`), and counts as skipped where that is missing or says so.
pub fn assert_python_agrees<S: AsRef<OsStr>>(script: &str, arguments: impl IntoIterator<Item = S>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script);
    let python = std::env::var("COURSE_PYTHON").unwrap_or_else(|_| "python3".into());
    match Command::new(&python).arg(path).args(arguments).output() {
        Err(error) => println!("skipped: {python} does not start ({error})"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            if output.status.code() == Some(SKIPPED) {
                println!("skipped: {}", said.trim());
                return;
            }
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {said}{errors}");
            println!("{said}");
        }
    }
}
