//! Decimals, compared with integers.

use super::*;
use crate::shape::decimal::Summand;

fn plain(literal: &str) -> Option<String> {
    Decimal::parse(literal).map(|number| number.to_string())
}

#[test]
fn parses_json_numbers_and_writes_plain_decimals() {
    for (literal, written) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0e5", "0"),
        ("12.710", "12.71"),
        ("68.39994", "68.39994"),
        ("1e-7", "0.0000001"),
        ("-1E-12", "-0.000000000001"),
        ("1.5e3", "1500"),
        ("0.001e+3", "1"),
        ("100e-2", "1"),
        ("1e17", "100000000000000000"),
        ("999999999999999999.999999999999", "999999999999999999.999999999999"),
        ("-999999999999999999.999999999999", "-999999999999999999.999999999999"),
        ("1e00000000000000000000000000000000000000002", "100"),
        ("0e100000000", "0"),
    ] {
        assert_eq!(plain(literal).as_deref(), Some(written), "{literal}");
    }
}

#[test]
fn refuses_what_is_not_a_number_and_what_has_too_many_digits() {
    let long = "9".repeat(1_000_000);
    for literal in [
        "",
        "-",
        "+1",
        ".5",
        "1.",
        "01",
        "1e",
        "1e+",
        "0x10",
        "12.5 ",
        " 12.5",
        "1_000",
        "1,5",
        "NaN",
        "Infinity",
        "１",
        "1e18",
        "1e100000000",
        "1e-100000000",
        "1e99999999999999999999999",
        "1e-13",
        "0.0000000000001",
        "1.0000000000000",
        "1000000000000000000",
        "3.333333333333333333333333333333333333333",
        "1234567890123456789012345678901234567890",
        &long,
        &format!("0.{long}"),
        &format!("1e{long}"),
        &format!("1e-{long}"),
    ] {
        assert_eq!(plain(literal), None, "{}", &literal[..literal.len().min(60)]);
    }
}

#[test]
fn strings_with_a_number_are_added_and_others_are_skipped() {
    let number = |literal| Summand::Number(Decimal::parse(literal).unwrap());
    for (value, summand) in [
        (Some("\"69\""), number("69")),
        (Some("\"0.0\""), number("0")),
        (Some("\"\\u0036\\u0039\""), number("69")),
        (Some("69"), number("69")),
        (None, Summand::Nothing),
        (Some("null"), Summand::Nothing),
        (Some("\"null\""), Summand::Skipped),
        (Some("\"12.5 \""), Summand::Skipped),
        (Some("\"0x10\""), Summand::Skipped),
        (Some("\"1e100000000\""), Summand::Skipped),
        (Some("\"\""), Summand::Skipped),
        (Some("\"\\ud800\""), Summand::Skipped),
        (Some("true"), Summand::Skipped),
        (Some("{}"), Summand::Skipped),
        (Some("[1]"), Summand::Skipped),
    ] {
        assert_eq!(Summand::of(value), summand, "{value:?}");
    }
}

#[test]
fn refuses_a_sum_that_does_not_fit() {
    let largest = Decimal::parse("999999999999999999.999999999999").unwrap();
    let mut sum = largest;
    let mut doublings = 0;
    while let Some(twice) = sum.plus(sum) {
        sum = twice;
        doublings += 1;
    }
    // 2²⁷ is 134 million, and 170 million fit.
    assert_eq!(doublings, 27);
}

proptest! {
    #[test]
    fn all_spellings_of_a_number_are_equal(
        number in -999_999_999_999_999_999i64..1_000_000_000_000_000_000,
        places in 0usize..13,
        shift in 0i64..300,
    ) {
        // The number, with its last `places` digits after the point.
        let digits = format!("{:0>width$}", number.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if number < 0 { "-" } else { "" };
        let point = if places == 0 { "" } else { "." };
        let plainly = Decimal::parse(&format!("{sign}{whole}{point}{fraction}")).unwrap();
        prop_assert_eq!(Decimal::parse(&format!("{sign}{}e-{places}", number.unsigned_abs())), Some(plainly));
        let small = format!("{sign}0.{}{}e{}", "0".repeat(shift as usize), digits, shift + digits.len() as i64 - places as i64);
        prop_assert_eq!(Decimal::parse(&small), Some(plainly));
        prop_assert_eq!(Decimal::parse(&plainly.to_string()), Some(plainly));
    }

    #[test]
    fn sums_do_not_depend_on_the_order(mut numbers in prop::collection::vec("-?[1-9][0-9]{0,17}(\\.[0-9]{1,12})?", 0..30)) {
        let sum = |numbers: &[String]| numbers.iter().try_fold(Decimal::ZERO, |sum, n| sum.plus(Decimal::parse(n)?));
        let before = sum(&numbers);
        numbers.sort();
        prop_assert!(before.is_some());
        prop_assert_eq!(sum(&numbers), before);
    }

    #[test]
    fn parses_only_json_numbers(text in "[-+0-9.eE x]{0,8}") {
        let is_json = serde_json::from_str::<serde_json::Number>(&text).is_ok() && !text.starts_with(' ') && !text.ends_with(' ');
        prop_assert!(is_json || Decimal::parse(&text).is_none(), "{}", text);
    }
}
