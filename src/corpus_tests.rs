//! Replays the stored inputs of the fuzz targets.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{http, sealed, shape, upstream};

type Target = (&'static str, fn(&[u8]));

/// Each target and its folder in `fuzz/corpus`.
const TARGETS: [Target; 11] = [
    ("cursor", http::fuzzed::cursor),
    ("headers", http::fuzzed::headers),
    ("lists", shape::fuzzed::lists),
    ("page", upstream::fuzzed::page),
    ("query", http::fuzzed::query),
    ("retry_after", upstream::fuzzed::retry_after),
    ("rows", shape::fuzzed::rows),
    ("tier_cell", sealed::fuzzed::cell),
    ("tier_rows", sealed::fuzzed::rows),
    ("tokens", http::fuzzed::tokens),
    ("words", upstream::fuzzed::words),
];

fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_stored_input_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, run) in TARGETS {
        let inputs = entries(&corpus.join(target));
        assert!(!inputs.is_empty(), "{target} has no inputs");
        for input in inputs {
            eprintln!("{}", input.display());
            run(&fs::read(input).unwrap());
        }
    }
    assert_eq!(entries(&corpus), TARGETS.iter().map(|(target, _)| corpus.join(target)).collect());
}
