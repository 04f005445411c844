//! The facts of rows that filters test, and whether a row passes a filter.

use std::sync::Arc;

use uuid::Uuid;

use super::{Filters, Status};

/// The facts of a row that filters test, apart from status and dates.
///
/// A fact is unknown if the row does not have it in the form that the filter takes. How upstream filters rows without
/// `telephony_data`, or with `null` for `answered_by_voice_mail`, has not been observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterFacts {
    /// `telephony_data.call_type`, if it is a text.
    pub call_type: Option<Arc<str>>,
    /// `telephony_data.provider`, if it is a text.
    pub provider: Option<Arc<str>>,
    /// `batch_id`.
    pub batch_id: BatchFact<Arc<str>>,
    /// `answered_by_voice_mail`, if it is true or false.
    pub answered_by_voice_mail: Option<bool>,
}

/// The batch of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchFact<T> {
    /// The row has no `batch_id`, or not a valid one.
    #[default]
    Unknown,
    /// The row is in no batch: its `batch_id` is null, which no identifier equals.
    None,
    /// The row is in this batch.
    In(T),
}

/// The facts of a row, wherever they are stored.
#[derive(Clone, Copy, Debug)]
pub struct StatedFacts<'a> {
    /// The status of the call.
    pub status: Option<&'a Status>,
    /// See [`FilterFacts::call_type`].
    pub call_type: Option<&'a str>,
    /// See [`FilterFacts::provider`].
    pub provider: Option<&'a str>,
    /// See [`FilterFacts::batch_id`].
    pub batch_id: BatchFact<&'a str>,
    /// See [`FilterFacts::answered_by_voice_mail`].
    pub answered_by_voice_mail: Option<bool>,
}

/// Whether a row passes filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMatch {
    /// It passes.
    Yes,
    /// It does not.
    No,
    /// Only upstream knows.
    Unknown,
}

impl FilterMatch {
    const fn of(is_equal: bool) -> Self {
        if is_equal { Self::Yes } else { Self::No }
    }

    /// Whether a row passes two filters. One that it does not pass decides, even if the other is unknown.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

impl Filters {
    /// Whether upstream would return a row with these facts under the filters, as far as its documentation tells.
    pub fn match_of(&self, facts: &StatedFacts<'_>) -> FilterMatch {
        let status = self.status.as_ref().map(|wanted| match facts.status {
            None => FilterMatch::Unknown,
            Some(status) => FilterMatch::of(status == wanted),
        });
        let call_type = self.call_type.map(|wanted| of_word(facts.call_type, wanted.as_str()));
        let provider = self.provider.as_ref().map(|wanted| of_word(facts.provider, wanted.as_str()));
        let batch_id = self.batch_id.as_ref().map(|wanted| of_batch(facts.batch_id, wanted.as_str()));
        let voice_mail = self.answered_by_voice_mail.map(|wanted| {
            facts.answered_by_voice_mail.map_or(FilterMatch::Unknown, |is| FilterMatch::of(is == wanted))
        });
        [status, call_type, provider, batch_id, voice_mail]
            .into_iter()
            .flatten()
            .fold(FilterMatch::Yes, FilterMatch::and)
    }
}

/// Upstream may or may not treat words as equal that differ only in case or blanks.
fn of_word(stated: Option<&str>, wanted: &str) -> FilterMatch {
    match stated {
        None => FilterMatch::Unknown,
        Some(word) if word == wanted => FilterMatch::Yes,
        Some(word) if word.trim().is_empty() || word.trim().eq_ignore_ascii_case(wanted) => {
            FilterMatch::Unknown
        }
        Some(_) => FilterMatch::No,
    }
}

/// Upstream may or may not treat two spellings of a batch (with or without dashes, or in capitals) as equal.
fn of_batch(stated: BatchFact<&str>, wanted: &str) -> FilterMatch {
    match stated {
        BatchFact::Unknown => FilterMatch::Unknown,
        BatchFact::None => FilterMatch::No,
        BatchFact::In(batch) if batch == wanted => FilterMatch::Yes,
        BatchFact::In(batch) => match (Uuid::try_parse(batch.trim()), Uuid::try_parse(wanted)) {
            (Ok(batch), Ok(wanted)) if batch != wanted => FilterMatch::No,
            _ => FilterMatch::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: StatedFacts<'_> = StatedFacts {
        status: None,
        call_type: None,
        provider: None,
        batch_id: BatchFact::Unknown,
        answered_by_voice_mail: None,
    };
    const BATCH: &str = "6f96c9b1000040008000012345678900";

    #[test]
    fn words_decide_only_if_they_are_clearly_equal_or_clearly_different() {
        let by = |provider: Option<&str>| {
            let filters = Filters { provider: "twilio".parse().ok(), ..Filters::default() };
            filters.match_of(&StatedFacts { provider, ..NOTHING })
        };
        assert_eq!(by(Some("twilio")), FilterMatch::Yes);
        assert_eq!(by(Some("plivo")), FilterMatch::No);
        for unclear in [None, Some(""), Some(" "), Some("Twilio"), Some("twilio ")] {
            assert_eq!(by(unclear), FilterMatch::Unknown, "{unclear:?}");
        }
        let inbound = |call_type: Option<&str>| {
            let filters = Filters { call_type: "inbound".parse().ok(), ..Filters::default() };
            filters.match_of(&StatedFacts { call_type, ..NOTHING })
        };
        assert_eq!(inbound(Some("inbound")), FilterMatch::Yes);
        assert_eq!(inbound(Some("outbound")), FilterMatch::No);
        assert_eq!((inbound(None), inbound(Some("INBOUND"))), (FilterMatch::Unknown, FilterMatch::Unknown));
    }

    #[test]
    fn upstream_decides_about_a_batch_in_another_spelling() {
        let by = |batch_id: BatchFact<&str>| {
            let filters = Filters { batch_id: BATCH.parse().ok(), ..Filters::default() };
            filters.match_of(&StatedFacts { batch_id, ..NOTHING })
        };
        assert_eq!(by(BatchFact::In(BATCH)), FilterMatch::Yes);
        assert_eq!(by(BatchFact::In("6f96c9b1000040008000012345678901")), FilterMatch::No);
        assert_eq!(by(BatchFact::In("6f96c9b1-0000-4000-8000-012345678901")), FilterMatch::No);
        assert_eq!(by(BatchFact::None), FilterMatch::No);
        for unclear in ["6f96c9b1-0000-4000-8000-012345678900", &BATCH.to_uppercase(), "campaign 7", ""] {
            assert_eq!(by(BatchFact::In(unclear)), FilterMatch::Unknown, "{unclear}");
        }
        assert_eq!(by(BatchFact::Unknown), FilterMatch::Unknown);
    }

    #[test]
    fn a_failed_filter_decides_although_others_are_unknown() {
        let completed = Status::new("completed");
        let filters = Filters {
            status: Some(Status::new("completed")),
            provider: "twilio".parse().ok(),
            answered_by_voice_mail: Some(true),
            ..Filters::default()
        };
        let facts = StatedFacts { status: Some(&completed), ..NOTHING };
        assert_eq!(filters.match_of(&facts), FilterMatch::Unknown);
        let facts = StatedFacts { answered_by_voice_mail: Some(false), ..facts };
        assert_eq!(filters.match_of(&facts), FilterMatch::No);
        let facts = StatedFacts { answered_by_voice_mail: Some(true), provider: Some("twilio"), ..facts };
        assert_eq!(filters.match_of(&facts), FilterMatch::Yes);
        assert_eq!(filters.match_of(&StatedFacts { status: None, ..facts }), FilterMatch::Unknown);
        assert_eq!(Filters::default().match_of(&NOTHING), FilterMatch::Yes);
    }
}
