use crate::domain::{Filters, MAX_PAGE_SIZE, PageOf};

use super::settings::Dates;

/// The query string of one page of a walk: dates, filters, page number and size, always in this order.
///
/// A fixed order gives one question one spelling, which whoever reads upstream's log is thankful for.
pub(super) fn of_page(filters: &Filters, page: PageOf, dates: Dates) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    match dates {
        Dates::Sent => {
            query.append_pair("from", &page.span.from().to_millis_text());
            query.append_pair("to", &page.span.to().to_millis_text());
        }
        Dates::LeftOut => {}
    }
    query.extend_pairs(filters.pairs());
    query.append_pair("page_number", &page.number.to_string());
    query.append_pair("page_size", &MAX_PAGE_SIZE.to_string());
    query.finish()
}

#[cfg(test)]
mod tests {
    use crate::domain::{CallType, Rounding, Span, Timestamp};

    use super::*;

    fn page() -> PageOf {
        let at = |text| Timestamp::parse(text, Rounding::Down).unwrap();
        let span = Span::new(at("2026-01-01T00:00:00Z"), at("2026-01-08T00:00:00Z")).unwrap();
        PageOf { span, number: 3 }
    }

    #[test]
    fn writes_dates_filters_and_page_in_one_order() {
        let filters = Filters {
            status: Some("completed".parse().unwrap()),
            call_type: Some(CallType::Inbound),
            ..Filters::default()
        };
        assert_eq!(
            of_page(&filters, page(), Dates::Sent),
            "from=2026-01-01T00%3A00%3A00.000Z&to=2026-01-08T00%3A00%3A00.000Z\
             &call_type=inbound&status=completed&page_number=3&page_size=50"
        );
    }

    #[test]
    fn leaves_dates_out_for_an_upstream_that_takes_none() {
        assert_eq!(of_page(&Filters::default(), page(), Dates::LeftOut), "page_number=3&page_size=50");
    }
}
