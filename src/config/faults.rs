use std::fmt;

/// Everything wrong with the settings, in the order in which it was found.
///
/// Reading doesn't stop at the first fault, so that one start reports every mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingErrors(Vec<String>);

impl SettingErrors {
    /// Records what is wrong with a flag, variable or file, and what is accepted.
    pub(crate) fn push(&mut self, subject: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push(format!("{subject}: {problem}"));
    }

    /// Adds other faults.
    pub(crate) fn extend(&mut self, faults: Self) {
        self.0.extend(faults.0);
    }

    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Prints one fault per line.
impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

impl std::error::Error for SettingErrors {}
