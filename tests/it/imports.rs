//! Which file of `src` imports what from which other, read from the code's paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::type_names::{defined_in, rust_files};

/// A module as its path's names from the crate's root down, which is empty.
type Module = Vec<String>;

/// The files of the source without its tests, each with its code.
pub(crate) struct Sources {
    files: BTreeMap<Module, Code>,
}

struct Code {
    /// The words of its code, `use` and `mod` lines left out.
    words: BTreeSet<String>,
    defined: BTreeSet<String>,
    /// What it imports, by name, and whether it only passes that on.
    imports: Vec<(Module, Use)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Own,
    Reexport,
}

/// Tests may combine what the layers separate.
pub(crate) fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    matches!(&*name, "testing" | "tests" | "fuzzed" | "scenarios")
        || name.ends_with("_tests")
        || path.iter().any(|part| part == "tests")
}

impl Sources {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let texts = rust_files(&root).into_iter().filter(|path| !is_test(path)).map(|path| {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let module = path.strip_prefix(&root).expect("it lies in the source").with_extension("");
            let mut names: Module = module.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            names.retain(|name| !matches!(name.as_str(), "mod" | "lib" | "main"));
            (names, text)
        });
        Self::of(texts)
    }

    pub(crate) fn of(texts: impl IntoIterator<Item = (Module, String)>) -> Self {
        let files = texts.into_iter().map(|(module, text)| {
            let text = code(&text);
            let imports = imports(&module, &text);
            let defined = defined_in(&text).into_iter().map(|(_, name)| name).collect();
            (module, Code { words: words(&text), defined, imports })
        });
        Self { files: files.collect() }
    }

    /// For each file those that it takes anything from.
    ///
    /// A `pub use` of a folder's own files is its table of contents: it counts only if the folder's `mod.rs` uses the name
    /// itself.
    pub(crate) fn arrows(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let of = |(module, code): (&'_ Module, &'_ Code)| {
            let counts = |(path, how): &&(Module, Use)| {
                let name = path.last().map_or("", String::as_str);
                *how == Use::Own || code.words.contains(name)
            };
            let targets = code.imports.iter().filter(counts).filter_map(|(path, _)| self.home(path, 0));
            targets.filter(|target| *target != module).cloned().collect::<BTreeSet<Module>>()
        };
        self.files
            .iter()
            .map(|file| {
                let targets = of(file);
                let known = self.files.keys().filter(|module| targets.contains(*module)).collect();
                (file.0, known)
            })
            .collect()
    }

    /// The files that define a type.
    pub(crate) fn that_define(&self, name: &str) -> Vec<&Module> {
        let is_here = |code: &&Code| code.defined.contains(name);
        self.files.iter().filter(|(_, code)| is_here(code)).map(|(module, _)| module).collect()
    }

    /// The files whose code has a word.
    pub(crate) fn that_mention(&self, word: &str) -> Vec<&Module> {
        self.files.iter().filter(|(_, code)| code.words.contains(word)).map(|(module, _)| module).collect()
    }

    /// Files that take from each other in a circle.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let arrows = self.arrows();
        let reach: BTreeMap<_, _> =
            self.files.keys().map(|module| (module, reached(&arrows, module))).collect();
        let mut circles = BTreeSet::new();
        for module in self.files.keys().filter(|module| reach[module].contains(module)) {
            let circle = self
                .files
                .keys()
                .filter(|other| reach[module].contains(other) && reach[other].contains(module));
            circles.insert(circle.map(|module| module.join("::")).collect::<Vec<_>>());
        }
        circles.into_iter().collect()
    }

    /// The file that defines what a path names, through re-exports.
    fn home(&self, path: &[String], depth: usize) -> Option<&Module> {
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, code) = self.files.get_key_value(&path[..length])?;
        let Some(name) = path.get(length).filter(|_| depth < 8) else { return Some(module) };
        let passed_on = code
            .imports
            .iter()
            .find(|(path, how)| *how == Use::Reexport && path.last() == Some(name) && path.len() > 1);
        passed_on.and_then(|(path, _)| self.home(path, depth + 1)).or(Some(module))
    }
}

/// The files that one takes from, directly or through others.
fn reached<'a>(
    arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    from: &'a Module,
) -> BTreeSet<&'a Module> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(arrows[module].iter().copied().filter(|target| seen.insert(*target)));
    }
    seen
}

/// A file's text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let own = text.find("\nmod tests {").map_or(text, |tests| &text[..tests]);
    let lines = own.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The words of a file, but for those of its `use` and `mod` lines.
fn words(text: &str) -> BTreeSet<String> {
    let statements = text.split_inclusive(';').map(|statement| {
        let start = statement
            .rfind("\nuse ")
            .or_else(|| statement.rfind("\npub"))
            .or_else(|| statement.rfind("\nmod "));
        let is_import = |line: &str| line.contains("use ") || line.contains("mod ");
        start.filter(|start| is_import(&statement[*start..])).map_or(statement, |start| &statement[..start])
    });
    let word = |c: char| !c.is_alphanumeric() && c != '_';
    statements.flat_map(|statement| statement.split(word)).map(str::to_owned).collect()
}

/// Every path that a file's `use` lines and expressions name, as from the crate's root.
fn imports(module: &[String], text: &str) -> Vec<(Module, Use)> {
    let mut found = Vec::new();
    // A file may name its own modules without `self::`.
    let children = text.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    let children: Vec<_> = children.map(|child| format!("{child}::")).collect();
    let roots = ["crate::", "super::", "self::"].into_iter().chain(children.iter().map(String::as_str));
    for root in roots {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].trim_end();
            let is_inside = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if is_inside || before.ends_with("pub(in") || text[..at].ends_with("pub(") {
                continue;
            }
            let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
            let is_use = line.trim_start().starts_with("use ") || line.contains(" use ");
            let how = if is_use && line.trim_start().starts_with("pub") { Use::Reexport } else { Use::Own };
            let end =
                if is_use { text[at..].find(';').map_or(text.len(), |end| at + end) } else { text.len() };
            for path in expand(&text[at..end]) {
                found.extend(absolute(module, &path).map(|path| (path, how)));
            }
        }
    }
    found
}

/// The paths of a tree like `a::{b, c::{d, self}}`, cut off at its end.
fn expand(tree: &str) -> Vec<Module> {
    let mut names: Module = Vec::new();
    let mut rest = tree;
    loop {
        rest = rest.trim_start();
        if let Some(inside) = rest.strip_prefix('{') {
            let each = branches(inside).into_iter().flat_map(expand);
            return each.map(|branch| names.iter().cloned().chain(branch).collect()).collect();
        }
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..length];
        if !name.is_empty() && (name != "self" || names.is_empty()) {
            names.push(name.to_owned());
        }
        match rest[length..].strip_prefix("::") {
            Some(below) if length > 0 => rest = below,
            _ => return vec![names],
        }
    }
}

/// The branches of an open brace.
fn branches(inside: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, mark) in inside.char_indices() {
        match mark {
            '{' => depth += 1,
            ',' if depth == 0 => {
                found.push(&inside[start..at]);
                start = at + 1;
            }
            '}' if depth == 0 => {
                found.push(&inside[start..at]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// A path as from the crate's root.
fn absolute(module: &[String], path: &[String]) -> Option<Module> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" => (&[][..], &path[1..]),
        "self" => (module, &path[1..]),
        _ if ups == 0 => (module, path),
        _ => (module.get(..module.len().checked_sub(ups)?)?, &path[ups..]),
    };
    Some(base.iter().chain(rest).cloned().collect())
}

#[test]
fn finds_a_circle_through_a_reexport_but_not_in_a_table_of_contents() {
    let file = |path: &str, text: &str| {
        (
            path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Module>(),
            text.to_owned(),
        )
    };
    let contents = file("a", "mod one;\nmod two;\npub use self::one::One;\npub(super) use self::two::Two;\n");
    let one = file("a::one", "use super::{Two, two::Other};\nuse crate::b::{self, B};\n");
    let apart =
        Sources::of([contents.clone(), one.clone(), file("a::two", "// crate::a::One\n"), file("b", "")]);
    assert_eq!(apart.circles(), Vec::<Vec<String>>::new());
    let back =
        Sources::of([contents, one, file("a::two", "fn f() { crate::a::One::new() }\n"), file("b", "")]);
    assert_eq!(back.circles(), [["a::one", "a::two"]]);
}

#[test]
fn finds_a_circle_through_a_path_that_begins_with_a_module_of_the_file() {
    let file = |path: &[&str], text: &str| {
        (path.iter().map(|name| (*name).to_owned()).collect::<Module>(), text.to_owned())
    };
    let sources = Sources::of([
        file(&["a"], "mod one;\nuse one::One;\npub fn f() {}\n"),
        file(&["a", "one"], "use super::f;\n"),
    ]);
    assert_eq!(sources.circles(), [["a", "a::one"]]);
}
