//! Log lines are filtered by target, so targets are an interface: each line has one, and docs/logging.md
//! lists it.

use std::fs;
use std::path::Path;

use crate::type_names::rust_files;

#[test]
fn every_log_line_has_a_documented_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documented = fs::read_to_string(root.join("docs/logging.md")).unwrap();
    let (mut lines, mut wrong) = (0, Vec::new());
    for file in rust_files(&root.join("src")) {
        // docs/logging.md does not cover the simulator.
        if file.ends_with("cli/simulate.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
            for (at, _) in text.match_indices(level) {
                lines += 1;
                let target = text[at + level.len()..].trim_start().strip_prefix("target: \"");
                let target = target.and_then(|rest| rest.split('"').next()).unwrap_or_default();
                if target.is_empty() || !documented.contains(&format!("| `{target}` |")) {
                    wrong.push(format!(
                        "{}: {target:?} in {}",
                        file.display(),
                        &text[at..(at + 60).min(text.len())]
                    ));
                }
            }
        }
    }
    assert!(lines > 20, "only {lines} log lines were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
