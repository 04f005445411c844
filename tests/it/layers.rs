//! Checks the source against the table of ARCHITECTURE.md: a module names only modules below it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::imports::{Sources, is_test};
use crate::type_names::rust_files;

/// Each module, and those it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("cli", EVERYTHING_BELOW_CLI),
    (
        "config",
        &[
            "server",
            "export",
            "http",
            "engine",
            "upstream",
            "cache",
            "simulator",
            "source",
            "directory",
            "replicas",
            "sealed",
            "tier",
            "store",
            "domain",
        ],
    ),
    ("export", &["shape", "domain"]),
    (
        "server",
        &[
            "http",
            "engine",
            "upstream",
            "cache",
            "simulator",
            "source",
            "directory",
            "replicas",
            "sealed",
            "tier",
            "store",
            "domain",
        ],
    ),
    ("http", &["engine", "shape", "encode", "source", "forward", "tier", "domain"]),
    ("engine", &["source", "store", "tier", "domain"]),
    ("upstream", &["source", "forward", "tier", "domain"]),
    ("cache", &["store", "deflate", "domain"]),
    ("source", &["domain"]),
    ("forward", &[]),
    ("directory", &["sealed", "tier", "store", "deflate", "domain"]),
    ("replicas", &["sealed", "tier", "store", "deflate", "domain"]),
    ("sealed", &["tier", "store", "deflate", "domain"]),
    ("tier", &["store", "domain"]),
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

/// The commands wire everything together, in `cli/assemble.rs`.
const EVERYTHING_BELOW_CLI: &[&str] = &[
    "config",
    "server",
    "export",
    "http",
    "engine",
    "upstream",
    "cache",
    "simulator",
    "source",
    "forward",
    "directory",
    "replicas",
    "sealed",
    "tier",
    "store",
    "domain",
];

/// The modules of the engine from the top down: each imports only from those after it.
const ENGINE: &[&str] = &[
    "yardstick",
    "saving",
    "sections",
    "confirm",
    "ask",
    "answer",
    "relay",
    "knowledge",
    "state",
    "prefetch",
    "restore",
    "scope",
    "reading",
    "plan",
    "proof",
    "coverage",
    "page_cache",
    "changes",
    "access",
    "agent_lists",
    "parts",
    "freshness",
    "terms",
    "memory",
    "single_flight",
    "background",
];

/// The modules that may name a type that decides, in addition to the one that defines it.
const DECIDE: &[(&str, &[&str])] = &[
    // How long known data is fresh.
    ("Policy", &["answer", "parts", "plan", "relay", "scope", "yardstick"]),
    ("Class", &["answer", "plan", "relay", "scope"]),
    ("Due", &["plan"]),
    // What proves that a walk lost nothing.
    ("Walk", &["reading"]),
    ("Beliefs", &["reading"]),
    ("Rounds", &["reading"]),
];

/// Leaves that every module but `domain` may name.
const FOR_ALL: &[&str] = &["telemetry", "shutdown", "clock"];

#[test]
fn every_module_is_in_the_table() {
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
fn a_module_of_the_engine_names_only_modules_below_it() {
    let sources = Sources::read();
    let mut wrong = Vec::new();
    for (file, targets) in sources.arrows() {
        let [top, module, ..] = &file[..] else { continue };
        let place = |name: &str| ENGINE.iter().position(|module| *module == name);
        if top != "engine" {
            continue;
        }
        assert!(place(module).is_some(), "give engine::{module} a place in the table");
        for target in targets.into_iter().filter(|target| target[0] == "engine") {
            let below = target.get(1).and_then(|name| place(name));
            if target.get(1) != Some(module) && below.is_none_or(|below| Some(below) < place(module)) {
                wrong.push(format!("{} names {}", file.join("::"), target.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_modules_of_the_table_name_types_that_decide() {
    let sources = Sources::read();
    for (name, may_name) in DECIDE {
        let homes = sources.that_define(name);
        let [home] = &homes[..] else { panic!("{name} is defined in {homes:?}") };
        for file in sources.that_mention(name) {
            let module = file.get(1).map_or("", String::as_str);
            let may = home.get(1).is_some_and(|home| home == module) || may_name.contains(&module);
            assert!(file[0] != "engine" || may, "{} names {name}", file.join("::"));
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = Sources::read().circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn finds_names_in_every_form_but_not_in_comments() {
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
        .filter(|name| !matches!(name.as_str(), "lib" | "main") && !name.ends_with("_tests"))
        .collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files of a module, its tests aside.
fn files_of(module: &str) -> Vec<PathBuf> {
    let folder = source().join(module);
    let mut files = if folder.is_dir() { rust_files(&folder) } else { Vec::new() };
    files.extend(Some(folder.with_extension("rs")).filter(|file| file.exists()));
    files.retain(|path| !is_test(path));
    files
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
