use crate::domain::{AgentId, Filters, PageOf, Rounding, Span, Timestamp};

use super::mismatch::Expectation;
use super::settings::DateParams;

/// The query string of one page of a walk: dates, filters, page number and size, always in this order.
///
/// A fixed order gives each question one spelling, which makes upstream's log easier to read.
pub(super) fn of_page(filters: &Filters, page: PageOf, dates: DateParams) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    match dates {
        DateParams::Sent => {
            query.append_pair("from", &page.span.from().to_millis_text());
            query.append_pair("to", &page.span.to().to_millis_text());
        }
        DateParams::LeftOut => {}
    }
    query.extend_pairs(filters.pairs());
    query.append_pair("page_number", &page.number.to_string());
    query.append_pair("page_size", &page.size.to_string());
    query.finish()
}

/// What a caller's own query asks for, as far as it uses the parameters of upstream's reference.
pub(super) fn asked(agent: AgentId, query: &str) -> Expectation {
    let only = |name: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value).filter(|_| values.next().is_none())
    };
    let at = |name, rounding| Timestamp::parse(&only(name)?, rounding);
    let ends = at("from", Rounding::Down).zip(at("to", Rounding::Up));
    Expectation {
        agent: Some(agent),
        number: only("page_number").and_then(|number| number.parse().ok()).filter(|&number| number > 0),
        size: None,
        span: ends.and_then(|(from, to)| Span::new(from, to)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::domain::CallType;

    use super::*;

    fn page() -> PageOf {
        let at = |text| Timestamp::parse(text, Rounding::Down).unwrap();
        let span = Span::new(at("2026-01-01T00:00:00Z"), at("2026-01-08T00:00:00Z")).unwrap();
        PageOf { span, number: 3, size: 50 }
    }

    #[test]
    fn writes_dates_filters_and_page_in_one_order() {
        let filters = Filters {
            status: Some("completed".parse().unwrap()),
            call_type: Some(CallType::Inbound),
            ..Filters::default()
        };
        assert_eq!(
            of_page(&filters, page(), DateParams::Sent),
            "from=2026-01-01T00%3A00%3A00.000Z&to=2026-01-08T00%3A00%3A00.000Z\
             &call_type=inbound&status=completed&page_number=3&page_size=50"
        );
    }

    #[test]
    fn reads_what_a_callers_query_asks_for() {
        let asked = |query| asked(AgentId::new(Uuid::nil()), query);
        let read = asked("from=2026-01-01T00%3A00%3A00.000Z&to=2026-01-08T00%3A00%3A00.000Z&page_number=3");
        assert_eq!((read.number, read.span), (Some(3), Some(page().span)));
        let odd = asked("from=2026-01-01T00:00:00Z&to=soon&page_number=1&page_number=2");
        assert_eq!((odd.number, odd.span), (None, None));
        assert_eq!(asked("page_number=0").number, None);
    }

    #[test]
    fn omits_dates_for_an_upstream_without_dates() {
        assert_eq!(of_page(&Filters::default(), page(), DateParams::LeftOut), "page_number=3&page_size=50");
    }
}
