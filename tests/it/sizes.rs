//! Files, functions and structs stay small enough to be read at once.

use std::fs;
use std::path::Path;

use crate::imports::is_test;
use crate::type_names::rust_files;

/// The most lines of a file, its tests included.
const FILE: usize = 400;

/// The most lines of a function, tests aside: a table may be long.
const FUNCTION: usize = 70;

/// The most fields of a struct, tests aside. Settings and questions may have more: a field a flag, or a parameter.
const FIELDS: usize = 12;

#[test]
fn files_functions_and_structs_are_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = [rust_files(&root), rust_files(&root.join("simulator"))].concat();
    assert!(files.len() > 300, "only {} files were found", files.len());
    let mut large = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file can be read");
        let place = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let lines = text.lines().count();
        if lines > FILE {
            large.push(format!("{place} has {lines} lines"));
        }
        if is_test(&file) {
            continue;
        }
        let text = text.find("\nmod tests {").map_or(&*text, |tests| &text[..tests]);
        let functions = functions(text).into_iter().filter(|(_, lines)| *lines > FUNCTION);
        large.extend(functions.map(|(name, lines)| format!("{place}: {name} has {lines} lines")));
        let is_settings = |name: &str| {
            name.ends_with("Settings") || name.ends_with("Question") || place.starts_with("config/")
        };
        let structs =
            structs(text).into_iter().filter(|(name, fields)| *fields > FIELDS && !is_settings(name));
        large.extend(structs.map(|(name, fields)| format!("{place}: {name} has {fields} fields")));
    }
    assert!(large.is_empty(), "split them by idea:\n{}", large.join("\n"));
}

#[test]
fn lines_and_fields_are_counted() {
    let text = "fn one() {\n    two();\n}\n\nimpl X {\n    pub(super) async fn two(\n        &self,\n    ) {\n    }\n\n    fn three();\n}\n\
                pub struct Y<T> {\n    /// A field: one.\n    pub(super) a: T,\n    b: u8,\n}\nstruct Z(u8);\nfn four() {}\n";
    assert_eq!(functions(text), [("one", 3), ("two", 4), ("four", 1)]);
    assert_eq!(structs(text), [("Y", 2)]);
}

/// The functions of a formatted text that have a body, with their lines.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = name_after(line, "fn ") else { continue };
        let end = lines[start..].iter().position(|line| is_end(line, indent(lines[start])));
        if let Some(end) = end.filter(|end| !lines[start + end].ends_with(';')) {
            found.push((name, end + 1));
        }
    }
    found
}

/// The structs of a formatted text that have named fields, with their number.
fn structs(text: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = name_after(line, "struct ").filter(|_| line.ends_with('{')) else { continue };
        let body = lines[start + 1..].iter().take_while(|line| !is_end(line, indent(lines[start])));
        let is_field = |line: &&&str| {
            let text = line.trim_start();
            indent(line) == indent(lines[start]) + 4 && !text.starts_with(['/', '#']) && text.contains(": ")
        };
        found.push((name, body.filter(is_field).count()));
    }
    found
}

/// What a line defines with a keyword, behind nothing but words such as `pub(super) async`.
fn name_after<'t>(line: &'t str, keyword: &str) -> Option<&'t str> {
    let (before, after) = line.split_once(keyword)?;
    let is_word = |word: &str| word.starts_with("pub") || ["const", "async", "unsafe", "in"].contains(&word);
    let is_path = |word: &str| word.ends_with(')') && !word.contains('(');
    let is_definition = before.split_whitespace().all(|word| is_word(word) || is_path(word));
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&after[..end]).filter(|name| is_definition && !name.is_empty())
}

/// Whether a line ends what began with this indent.
fn is_end(line: &str, start: usize) -> bool {
    let ends = line.ends_with('}') || line.ends_with(';');
    indent(line) == start && ends
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
