//! 8.5: unit tests of generated code as a reward, and the sandbox that they run in.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use datasets::Example;
use modern::FinishReason;
use tensor_core::Rng;

use crate::RewardInput;
use crate::code_reward::{CodeScore, code_reward_fn, extract_python};
use crate::sandbox::{Sandbox, SandboxLimits, TestReport};

const LIMITS: SandboxLimits = SandboxLimits { time: Duration::from_secs(10), memory_mb: 256 };

/// Sandbox of Python, or `None` with a message where there is none.
fn sandbox(limits: SandboxLimits) -> Result<Option<Sandbox>> {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return Ok(None);
    }
    Sandbox::open("python3", limits).map(Some)
}

/// Why `program` fails.
fn failure(sandbox: &Sandbox, program: &str) -> Result<String> {
    let TestReport { n_passed, failure } = sandbox.run(program, &["pass".into()])?;
    let failure = failure.unwrap_or_default();
    assert_eq!((n_passed, failure.is_empty()), (0, false), "{program}");
    Ok(failure)
}

#[test]
fn tests_pass_or_say_why_they_fail() -> Result<()> {
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    let tests = ["assert add(1, 2) == 3", "assert add(2, 2) == 5, 'two and two'", "add()"];
    let tests = tests.map(String::from);
    let report = sandbox.run("def add(a, b):\n    return a + b\n", &tests)?;
    let expected = "test 2: AssertionError: two and two";
    assert_eq!(report, TestReport { n_passed: 1, failure: Some(expected.into()) });
    for (program, expected) in [
        ("def add(a, b) return", "program: SyntaxError: expected ':' (program, line 1)"),
        ("import sys; sys.exit(0)", "program: SystemExit: 0"),
        ("import os; os._exit(0)", "ended early: exit status: 0"),
        ("input()", "program: EOFError: EOF when reading a line"),
        ("print('passed')", "test 1: NameError: name 'add' is not defined"),
        ("import builtins; builtins.exec = print", "test 1: NameError"),
        ("import builtins; builtins.compile = lambda *a: ''", "test 1: NameError"),
        ("import os\nos.closerange(3, 30)", "ended early"),
        ("import ctypes; ctypes.string_at(0)", "ended early: signal: 11 (SIGSEGV)"),
    ] {
        let report = sandbox.run(program, &tests[..1])?;
        assert_eq!(report.n_passed, 0, "{program}");
        let failure = report.failure.unwrap_or_default();
        assert!(failure.starts_with(expected), "{program}: {failure}");
    }
    Ok(())
}

#[test]
fn a_program_that_loops_or_sleeps_is_ended() -> Result<()> {
    let time = Duration::from_secs(1);
    let Some(sandbox) = sandbox(SandboxLimits { time, ..LIMITS })? else { return Ok(()) };
    let start = Instant::now();
    let looped = failure(&sandbox, "while True: pass")?;
    assert!(looped.starts_with("ended after 1 s of"), "{looped}");
    let slept = failure(&sandbox, "import time; time.sleep(600)")?;
    assert_eq!(slept, "ended after 1 s of wall time (--code-timeout)");
    // The test that loops fails, those before it have passed.
    let tests = ["pass", "while True: pass", "pass"].map(String::from);
    assert_eq!(sandbox.run("", &tests)?.n_passed, 1);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn a_program_cannot_start_processes_threads_or_programs() -> Result<()> {
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    for program in [
        "import os\nwhile True: os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.execv('/bin/true', ['true'])",
        "import os, signal; os.kill(os.getppid(), signal.SIGTERM)",
        "import fcntl, os; fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
    ] {
        let failure = failure(&sandbox, program)?;
        assert!(failure.starts_with("program: PermissionError: [Errno 1]"), "{program}: {failure}");
    }
    let thread = "import threading; threading.Thread(target=print).start()";
    assert_eq!(failure(&sandbox, thread)?, "program: RuntimeError: can't start new thread");
    Ok(())
}

#[test]
fn a_program_cannot_fill_the_memory_or_the_disk() -> Result<()> {
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    assert_eq!(failure(&sandbox, "x = bytearray(1 << 30)")?, "program: MemoryError");
    let grown = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    assert_eq!(failure(&sandbox, grown)?, "program: MemoryError");
    let file = "f = open('a', 'wb', buffering=0)\nwhile True: f.write(bytes(1 << 16))";
    assert_eq!(failure(&sandbox, file)?, "program: OSError: [Errno 27] File too large");
    let memory_file = failure(&sandbox, "import os; os.memfd_create('a')")?;
    assert!(memory_file.starts_with("program: PermissionError"), "{memory_file}");
    for many in [
        "import time\nfor i in range(40): open(str(i), 'wb').write(bytes(1 << 20))\ntime.sleep(9)",
        "import time\nfor i in range(2000): open(str(i), 'wb')\ntime.sleep(9)",
    ] {
        assert_eq!(failure(&sandbox, many)?, "ended: its files exceed 16 MB, or 1000");
    }
    Ok(())
}

#[test]
fn a_program_writes_in_a_folder_of_its_own_and_reads_nothing_of_the_user() -> Result<()> {
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mine");
    std::fs::write(&file, "kept")?;
    let path = file.display();
    for program in [
        format!("open('{path}', 'w')"),
        format!("open('{path}')"),
        format!("import os; os.truncate('{path}', 0)"),
        format!("import os; os.chmod('{path}', 0)"),
        format!("import os; os.utime('{path}', (0, 0))"),
        format!("import os; os.unlink('{path}')"),
        format!("import os; os.rename('{path}', 'b')"),
        format!("import os; os.link('{path}', 'b')"),
        format!("import os; os.symlink('{path}', 'b')"),
        "import os; os.mkdir('../b')".into(),
        "open('/etc/passwd')".into(),
        "open('/proc/self/environ')".into(),
        "open('/dev/shm/b', 'w')".into(),
    ] {
        let failure = failure(&sandbox, &program)?;
        assert!(failure.starts_with("program: PermissionError"), "{program}: {failure}");
    }
    assert_eq!(std::fs::read_to_string(&file)?, "kept");
    let own = "import os, tempfile\nopen('a', 'w').write('1')\nprint(tempfile.mkstemp())\n\
               here = os.getcwd()\nassert set(os.environ) <= {'HOME', 'TMPDIR', 'LC_CTYPE', \
               'PYTHONHASHSEED', 'PYTHONUTF8', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'}";
    let test = "raise ValueError(here)".to_string();
    let report = sandbox.run(own, &["assert open('a').read() == '1'".into(), test])?;
    assert_eq!(report.n_passed, 1, "{report:?}");
    let failure = report.failure.unwrap_or_default();
    let here = failure.strip_prefix("test 2: ValueError: ").expect("the folder");
    assert!(!Path::new(here).exists(), "{here} is deleted with its content");
    Ok(())
}

#[test]
fn a_program_cannot_open_sockets() -> Result<()> {
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    for program in [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.socketpair()",
    ] {
        let failure = failure(&sandbox, program)?;
        assert_eq!(failure, "program: PermissionError: [Errno 1] Operation not permitted");
    }
    let web = failure(&sandbox, "import urllib.request as r; r.urlopen('http://127.0.0.1:9')")?;
    assert!(web.contains("Operation not permitted"), "{web}");
    Ok(())
}

#[test]
fn the_same_program_gets_the_same_order_of_a_set() -> Result<()> {
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    let program = "raise ValueError(list({'a', 'b', 'c', 'd', 'e', 'f'}))";
    assert_eq!(failure(&sandbox, program)?, failure(&sandbox, program)?);
    Ok(())
}

#[test]
fn an_interpreter_that_cannot_be_locked_in_is_refused() {
    for (python, expected) in [
        ("no-such-python", "cannot start no-such-python (--code-python)"),
        ("true", "true (--code-python) is not a Python interpreter: no output"),
    ] {
        let error = Sandbox::open(python, LIMITS).expect_err(python).to_string();
        assert_eq!(error, expected);
    }
}

#[test]
fn a_completion_is_rewarded_for_the_tests_that_its_code_passes() -> Result<()> {
    let example = |tests: &[&str]| Example {
        tests: tests.iter().map(ToString::to_string).collect(),
        ..Example::new("Write add(a, b).", "")
    };
    let example = example(&["assert add(1, 2) == 3", "assert add(2, 2) == 4"]);
    let completions = [
        "Like this:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds.",
        "def add(a, b):\n    return 3",
        "```\ndef add(a, b): return 0\n```\nbetter:\n```py\ndef add(a, b): return a + b",
        "I cannot.",
    ];
    let inputs = completions.map(|completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    });
    for (score, expected) in
        [(CodeScore::All, [1., 0., 1., 0.]), (CodeScore::Fraction, [1., 0.5, 1., 0.])]
    {
        let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
        let mut code = code_reward_fn(sandbox, score);
        assert_eq!((code.reward_fn)(&inputs, &mut Rng::new(1))?, expected);
        let parts = code.parts.0.borrow();
        let notes: Vec<&str> = parts[0].notes.iter().map(String::as_str).collect();
        assert_eq!(notes[..3], ["", "test 2: AssertionError", ""]);
        assert!(notes[3].starts_with("program: SyntaxError"), "{}", notes[3]);
        let untested = Example::new("Write add(a, b).", "");
        let input = RewardInput { example: &untested, ..inputs[0] };
        let error = (code.reward_fn)(&[input], &mut Rng::new(1)).expect_err("no tests");
        assert!(error.to_string().contains("needs rows with tests"), "{error}");
    }
    Ok(())
}

#[test]
fn a_completion_of_humaneval_is_the_body_or_the_whole_function() -> Result<()> {
    let row = serde_json::json!({
        "prompt": "from math import ceil\n\n\ndef half(n):\n    \"\"\"Half of n, up.\"\"\"\n",
        "test": "def check(candidate):\n    assert candidate(3) == 2\n", "entry_point": "half",
    });
    let example = datasets::code_rows::parse_code_row(&row)?;
    let completions = [
        "    return ceil(n / 2)\n",
        "return ceil(n / 2)",
        "    m = n / 2\n    return ceil(m)\n```\nIt rounds up.",
        "if n > 0:\n    return ceil(n / 2)\nreturn 0",
        "if n > 0:\n        return ceil(n / 2)\n    return 0",
        "```python\ndef half(n):\n    return (n + 1) // 2\n```",
        "    return n // 2\n",
    ];
    let inputs = completions.map(|completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    });
    let Some(sandbox) = sandbox(LIMITS)? else { return Ok(()) };
    let mut code = code_reward_fn(sandbox, CodeScore::All);
    assert_eq!((code.reward_fn)(&inputs, &mut Rng::new(1))?, [1., 1., 1., 1., 1., 1., 0.]);
    Ok(())
}

#[test]
fn code_is_the_last_fenced_block_or_the_whole_completion() {
    for (completion, code) in [
        ("a = 1\n", "a = 1\n"),
        ("```python\na\n```", "a\n"),
        ("```\na\n```\n```py\nb\n```\nc", "b\n"),
        ("```python\na", "a"),
        ("```python\na\n``` and ```", ""),
        ("```", ""),
        ("a = 1\n```\nThis sets a.", "a = 1\n"),
        ("    return 1\n```", "    return 1\n"),
        ("The program:\n```\na", "a"),
    ] {
        assert_eq!(extract_python(completion), code, "{completion}");
    }
}
