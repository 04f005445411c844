use std::error::Error;
use std::iter::successors;

/// Appends what caused an error to a text about it, each cause after a colon.
pub fn with_causes(text: &str, error: &dyn Error) -> String {
    successors(error.source(), |&cause| cause.source())
        .fold(text.to_owned(), |text, cause| format!("{text}: {cause}"))
}
