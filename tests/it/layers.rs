//! A module names only modules below it: the table of ARCHITECTURE.md, held against the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and those it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("cli", EVERYTHING_BELOW_CLI),
    ("config", &["server", "http", "engine", "upstream", "cache", "simulator", "source", "store", "domain"]),
    ("server", &["http", "engine", "upstream", "cache", "simulator", "source", "store", "domain"]),
    ("http", &["engine", "shape", "encode", "source", "forward", "domain"]),
    ("engine", &["source", "store", "domain"]),
    ("upstream", &["source", "forward", "domain"]),
    ("cache", &["store", "deflate", "domain"]),
    ("source", &["domain"]),
    ("forward", &[]),
    ("store", &["domain"]),
    ("shape", &["domain"]),
    ("encode", &["deflate", "domain"]),
    ("simulator", &["domain"]),
    ("clock", &["domain"]),
    ("domain", &["deflate"]),
    ("deflate", &[]),
    ("telemetry", &[]),
    ("shutdown", &[]),
];

/// The commands put everything together, in `cli/assemble.rs`.
const EVERYTHING_BELOW_CLI: &[&str] = &[
    "config",
    "server",
    "http",
    "engine",
    "upstream",
    "cache",
    "simulator",
    "source",
    "forward",
    "store",
    "domain",
];

/// Leaves that every module but `domain` may name.
const FOR_ALL: &[&str] = &["telemetry", "shutdown", "clock"];

#[test]
fn every_module_stands_in_the_table() {
    let told: BTreeSet<_> = MAY_NAME.iter().map(|(name, _)| (*name).to_owned()).collect();
    let strangers: Vec<_> = modules().into_iter().filter(|name| !told.contains(name)).collect();
    assert!(strangers.is_empty(), "give them a place in the table: {strangers:?}");
}

#[test]
fn a_module_names_only_modules_below_it() {
    let mut wrong = Vec::new();
    for (module, may_name) in MAY_NAME {
        for file in files_of(module) {
            let text = fs::read_to_string(&file).unwrap();
            for named in named_in(&text) {
                let is_leaf_for_all = *module != "domain" && FOR_ALL.contains(&named.as_str());
                if named != *module && !may_name.contains(&named.as_str()) && !is_leaf_for_all {
                    wrong.push(format!("{} names {named}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let below =
        |name: &str| MAY_NAME.iter().find(|(module, _)| *module == name).map_or(&[][..], |(_, below)| below);
    for (module, _) in MAY_NAME {
        let mut reached = BTreeSet::new();
        let mut next = below(module).to_vec();
        while let Some(name) = next.pop() {
            if reached.insert(name) {
                next.extend(below(name));
            }
        }
        assert!(!reached.contains(module), "{module} stands above itself");
    }
}

#[test]
fn names_are_found_in_every_form_and_comments_are_not() {
    let text = "use crate::domain::{Row, Page};\nuse crate::{engine::Engine, http, source::{self, Turn}};\n\
                // crate::cache is only spoken of\n/// [`crate::store`]\nlet x = crate::encode::json();\n\
                pub(crate) fn f() {}";
    let named: Vec<_> = named_in(text).into_iter().collect();
    assert_eq!(named, ["domain", "encode", "engine", "http", "source"]);
}

/// The top-level modules, each with a file or a folder of its own.
fn modules() -> BTreeSet<String> {
    fs::read_dir(source())
        .expect("the source is there")
        .map(|entry| {
            entry
                .expect("the source can be listed")
                .path()
                .file_stem()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !matches!(name.as_str(), "lib" | "main"))
        .collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files of a module.
fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![source().join(module)];
    let file = source().join(module).with_extension("rs");
    files.extend(file.exists().then_some(file));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("the source can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                files.push(path);
            }
        }
    }
    files
}

/// Tests put together what the layers keep apart.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name == "testing"
        || name == "tests"
        || name.ends_with("_tests")
        || path.iter().any(|part| part == "tests")
}

/// The top-level modules that a file names after `crate::`, those in braces included.
fn named_in(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    code.match_indices("crate::").flat_map(|(at, found)| first_names(&code[at + found.len()..])).collect()
}

/// The first name of a path, or of every path in its braces.
fn first_names(path: &str) -> Vec<String> {
    let Some(braces) = path.strip_prefix('{') else { return vec![name_at(path)] };
    let mut depth = 0;
    let mut names = vec![name_at(braces.trim_start())];
    for (at, mark) in braces.char_indices() {
        match mark {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(braces[at + 1..].trim_start())),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn name_at(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}
