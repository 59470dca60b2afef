//! Hub server with one model on 127.0.0.1, limited to the requests of hf-hub: `/api/models/..`
//! lists the files, `/../resolve/..` returns them with support of the `Range` header.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Commit of the conversion to Parquet, whose files the server is given under this name.
pub(crate) const CONVERTED: &str = "convert/";

/// Fault of the whole repository: its file list is not accessible.
pub(crate) const WHOLE_MODEL: (&str, Fault) = ("", Fault::Gated);

/// Fault of the server in the response for one file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Connection closed after half of the bytes.
    Cut,
    /// Connection closed after half of the bytes, without Content-Length, so the body seems
    /// complete.
    CutSilently,
    /// Status 403, as for a model whose license is not accepted.
    Gated,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<&'static str, Vec<u8>>,
    fault: Mutex<Option<(&'static str, Fault)>>,
    requests: Mutex<Vec<String>>,
    stopping: AtomicBool,
}

impl Server {
    /// Serves `owner/model`, and the same files as the data set `owner/data`. Those whose names
    /// begin with [`CONVERTED`] are of the data set's conversion alone.
    pub(crate) fn start(files: &[(&'static str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|&(name, bytes)| (name, bytes.to_vec())).collect();
        let state = Arc::new(State { files, ..State::default() });
        let (shared, thread_state) = (state.clone(), state.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if thread_state.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let _ = respond(&thread_state, stream.unwrap()); // a client may disconnect
            }
        });
        Self { endpoint, state: shared, thread: Some(thread) }
    }

    pub(crate) fn set_fault(&self, fault: Option<(&'static str, Fault)>) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Paths requested since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        // The connection wakes the thread.
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn respond(state: &State, stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or("").to_string();
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        range = line.strip_prefix("range: bytes=").map(str::to_string).or(range);
        if line.is_empty() {
            break;
        }
    }
    state.requests.lock().unwrap().push(path.clone());

    let path = path
        .replace("/api/datasets/owner/data/", "/api/models/owner/model/")
        .replace("/datasets/owner/data/resolve/", "/owner/model/resolve/");
    let send = |status: &str, headers: &str, body: &[u8]| {
        write!(&stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n")?;
        (&stream).write_all(body)
    };
    let fault = *state.fault.lock().unwrap();
    if let Some(revision) = path.strip_prefix("/api/models/owner/model/revision/")
        && fault != Some(WHOLE_MODEL)
    {
        let (status, body) = file_list(state, revision);
        return send(status, &format!("Content-Length: {}\r\n", body.len()), body.as_bytes());
    }
    let file = path.strip_prefix(&format!("/owner/model/resolve/{COMMIT}/")).or_else(|| {
        path.strip_prefix("/owner/model/resolve/").filter(|f| f.starts_with(CONVERTED))
    });
    let Some((name, bytes)) = file.and_then(|file| state.files.get_key_value(file)) else {
        return send("401 Unauthorized", "Content-Length: 0\r\n", b"");
    };
    let fault = fault.filter(|(file, _)| file == name).map(|(_, fault)| fault);
    if fault == Some(Fault::Gated) {
        return send("403 Forbidden", "Content-Length: 0\r\n", b"");
    }
    let (first, last) =
        range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let (first, last) = (first.parse().unwrap(), last.parse().unwrap_or(bytes.len() - 1));
    if first >= bytes.len() {
        return send("416 Range Not Satisfiable", "Content-Length: 0\r\n", b"");
    }
    let body = &bytes[first..=last];
    let common = format!(
        "x-repo-commit: {}\r\netag: \"{}\"\r\nContent-Range: bytes {first}-{last}/{}\r\n",
        if name.starts_with(CONVERTED) { CONVERTED.trim_end_matches('/') } else { COMMIT },
        etag(name),
        bytes.len()
    );
    let length = format!("{common}Content-Length: {}\r\n", body.len());
    match fault {
        Some(Fault::Cut) if last > 0 => {
            send("206 Partial Content", &length, &body[..body.len() / 2])
        }
        Some(Fault::CutSilently) if last > 0 => {
            send("206 Partial Content", &common, &body[..body.len() / 2])
        }
        _ => send("206 Partial Content", &length, body),
    }
}

/// Status and files of the revision, as JSON; without a conversion, its revision does not exist.
fn file_list(state: &State, revision: &str) -> (&'static str, String) {
    let converted = revision == "refs%2Fconvert%2Fparquet";
    let names = state.files.keys().filter(|name| name.starts_with(CONVERTED) == converted);
    let names = names.map(|name| name.trim_start_matches(CONVERTED));
    let files: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
    let sha = if converted { CONVERTED.trim_end_matches('/') } else { COMMIT };
    let exists = !converted || !files.is_empty();
    let list = serde_json::json!({ "sha": sha, "siblings": files, "id": "owner/model" });
    (if exists { "200 OK" } else { "404 Not Found" }, list.to_string())
}

/// Name of a file's blob in the cache; the Hub uses a hash of its bytes.
pub(crate) fn etag(name: &str) -> String {
    name.replace(['.', '/'], "-")
}
