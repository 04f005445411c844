//! Each type name is defined once, so that a reader needs no path to know which type is meant.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The simulator has its own vocabulary, which is upstream's.
const APART: &str = "simulator";

#[test]
fn defines_each_type_name_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (line, name) in defined_in(&text) {
            places.entry(name).or_default().push(format!("{}:{line}", file.display()));
        }
    }
    assert!(places.len() > 300, "only {} types were found", places.len());
    places.retain(|_, at| at.len() > 1);
    assert!(places.is_empty(), "give each a name of its own: {places:#?}");
}

#[test]
fn finds_definitions_in_every_form_but_not_associated_types() {
    let text = "pub(super) struct One<T>(T);\n    enum Two {\npub trait Three: Send {}\npub(crate) type Four = u8;\n\
                impl Iterator for X {\n    type Item = u8;\n}\n// struct Five;\nlet x = Six {};\npub union Seven {\n\
                pub(in crate::x) enum Eight {";
    let names: Vec<_> = defined_in(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["One", "Two", "Three", "Four", "Seven", "Eight"]);
}

/// The types that a text defines, with their lines. An indented `type` is taken for an associated type.
pub(crate) fn defined_in(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = without_visibility(line.trim_start()).split_whitespace();
        let is_definition = match words.next() {
            Some("struct" | "enum" | "trait" | "union") => true,
            Some("type") => !line.starts_with(' '),
            _ => false,
        };
        let name: String = words
            .next()
            .filter(|_| is_definition)
            .map(|word| word.chars().take_while(char::is_ascii_alphanumeric).collect())
            .unwrap_or_default();
        if name.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.push((number + 1, name));
        }
    }
    found
}

fn without_visibility(line: &str) -> &str {
    match line.strip_prefix("pub(") {
        Some(scope) => scope.split_once(") ").map_or("", |(_, rest)| rest),
        None => line.strip_prefix("pub ").unwrap_or(line),
    }
}

pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder can be read") {
        let path = entry.expect("a source folder can be read").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != APART) {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
