//! Data files as bytes: rows of JSON, and the documents of a text.
#![no_main]

use std::cell::RefCell;
use std::slice;

use datasets::documents::{DocumentReader, SEPARATOR};
use datasets::{FilteredPreferences, PreferenceColumns, TextCorpus, read_examples};
use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("rows_bytes"));
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"PAR1") {
        return; // `parquet_bytes`
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let path = scratch.write("data.txt", bytes);
        let _ = read_examples(slice::from_ref(&path), None);
        let pairs = PreferenceColumns::default().read_files(slice::from_ref(&path));
        let _: Option<FilteredPreferences> = pairs.ok();
        let corpus = TextCorpus::open(&path);
        let Ok(text) = std::str::from_utf8(bytes) else {
            assert!(corpus.is_err());
            return;
        };
        let documents = documents(text);
        let expected = text.split(SEPARATOR).map(str::trim).filter(|text| !text.is_empty());
        // A document may end with white space that was too long for one chunk.
        let trimmed: Vec<&str> = documents.iter().map(|document| document.trim_end()).collect();
        assert_eq!(trimmed, expected.collect::<Vec<_>>());
        assert_eq!(corpus.map_or(0, |corpus| corpus.n_documents), documents.len());
    });
});

/// Documents of a text, put together from their chunks.
fn documents(text: &str) -> Vec<String> {
    let mut reader = DocumentReader::new(text.as_bytes(), "text".into());
    let mut documents: Vec<String> = Vec::new();
    while let Some(chunk) = reader.next_chunk().expect("the text is UTF-8") {
        match documents.last_mut().filter(|_| !chunk.is_document_start) {
            Some(document) => document.push_str(&chunk.text),
            None => documents.push(chunk.text),
        }
    }
    documents
}
