//! The environment's part of the settings.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::faults::SettingErrors;

/// The prefix of fanfold's variables.
const PREFIX: &str = "FANFOLD_";

/// The prefixes of variables that Kubernetes injects for a Service called fanfold, such as `FANFOLD_SERVICE_HOST` and
/// `FANFOLD_PORT_8080_TCP`.
const KUBERNETES: [&str; 2] = ["FANFOLD_SERVICE_", "FANFOLD_PORT"];

/// The least Jaro-Winkler similarity at which a known name is suggested.
const NEAR: f64 = 0.7;

/// fanfold's variables by name. Empty ones count as unset, because templates often produce them.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    known: &[String],
    faults: &mut SettingErrors,
) -> BTreeMap<String, String> {
    let mut ours = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if known.iter().any(|known| known == name) {
            match value.into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => drop(ours.insert(name.to_owned(), value)),
                Err(_) => faults.push(name, "the value is not UTF-8"),
            }
        } else if !is_injected(name) {
            let problem = match nearest(name, known) {
                Some(near) => format!("no such setting; did you mean {near}?"),
                None => "no such setting".to_owned(),
            };
            faults.push(name, problem);
        }
    }
    ours
}

/// Whether Kubernetes injects the variable.
pub(super) fn is_injected(name: &str) -> bool {
    KUBERNETES.iter().any(|prefix| name.starts_with(prefix))
}

fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    // Compared without the common prefix, which makes all names similar.
    let bare = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let likeness = |known: &String| strsim::jaro_winkler(&bare(name), &bare(known));
    known
        .iter()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(name: &str) -> String {
        let known = ["FANFOLD_FAN_OUT", "FANFOLD_LIVE_TTL", "FANFOLD_LOG"].map(str::to_owned);
        let mut faults = SettingErrors::default();
        read([(name.into(), "1".into())], &known, &mut faults);
        faults.to_string()
    }

    #[test]
    fn suggests_the_nearest_name_for_an_unknown_variable() {
        assert_eq!(
            faults_of("FANFOLD_FANOUT"),
            "FANFOLD_FANOUT: no such setting; did you mean FANFOLD_FAN_OUT?\n"
        );
        assert_eq!(faults_of("FANFOLD_QQQQ"), "FANFOLD_QQQQ: no such setting\n");
    }

    #[test]
    fn ignores_variables_of_kubernetes_and_of_other_programs() {
        for name in [
            "FANFOLD_SERVICE_HOST",
            "FANFOLD_SERVICE_PORT_HTTP",
            "FANFOLD_PORT",
            "FANFOLD_PORT_8080_TCP_ADDR",
            "PATH",
        ] {
            assert_eq!(faults_of(name), "", "{name}");
        }
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let mut faults = SettingErrors::default();
        let known = ["FANFOLD_LOG".to_owned()];
        let ours = read([("FANFOLD_LOG".into(), OsString::new())], &known, &mut faults);
        assert!(ours.is_empty() && faults.is_empty());
    }
}
