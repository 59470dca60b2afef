//! Test inputs from outside the repository: real files, and the results of Python scripts. Where
//! these are missing, tests print that they were skipped, and pass.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code of a script that lacks a dependency, such as torch or transformers.
const SKIPPED: i32 = 77;

/// Path of `file` in the folder `$COURSE_DATA`, if it exists.
pub fn course_data(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("COURSE_DATA").map(|folder| PathBuf::from(folder).join(file));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: no $COURSE_DATA/{file}");
    }
    path
}

/// Panics unless `script` of the folder `scripts`, run on `arguments`, exits with code 0. It is run
/// by `$COURSE_PYTHON` (else `python3`), and counts as skipped if that is missing or the script
/// reports so.
pub fn assert_python_agrees<S: AsRef<OsStr>>(script: &str, arguments: impl IntoIterator<Item = S>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script);
    let python = std::env::var("COURSE_PYTHON").unwrap_or_else(|_| "python3".into());
    match Command::new(&python).arg(path).args(arguments).output() {
        Err(error) => println!("skipped: {python} does not start ({error})"),
        Ok(output) => {
            let stdout = String::from_utf8_lossy(&output.stdout);
            if output.status.code() == Some(SKIPPED) {
                println!("skipped: {}", stdout.trim());
                return;
            }
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {stdout}{stderr}");
            println!("{stdout}");
        }
    }
}
