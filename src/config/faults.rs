use std::fmt;

/// All faults of the settings, in the order in which they were found.
///
/// Reading doesn't stop at the first fault, so that one start reports every mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingErrors(Vec<SettingError>);

/// One faulty setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The flag, variable or file.
    pub subject: String,
    /// What is wrong, and what is accepted.
    pub problem: String,
}

impl SettingErrors {
    /// Records a fault.
    pub(crate) fn push(&mut self, subject: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SettingError { subject: subject.into(), problem: problem.into() });
    }

    /// Adds other faults.
    pub(crate) fn extend(&mut self, faults: Self) {
        self.0.extend(faults.0);
    }

    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &SettingError> {
        self.0.iter()
    }

    /// The value, if it exists and there are no faults.
    ///
    /// # Errors
    /// The faults.
    pub(crate) fn unless_any<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

/// Prints one fault per line.
impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

impl std::error::Error for SettingErrors {}
