use std::time::Duration;

/// The longest accepted length, ten years. More is a typing error, and could overflow clocks.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The units of lengths, longer names first, so that `ms` is not read as `s`.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a length as in settings and fault scripts: an integer in plain digits and `ms`, `s`, `m`, `h` or `d`, up to 3650d;
/// `None` for anything else.
pub fn parse_length(text: &str) -> Option<Duration> {
    let millis = |(unit, millis): &(&str, u64)| {
        let number = text.strip_suffix(unit)?;
        let is_plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        if is_plain { number.parse::<u64>().ok()?.checked_mul(*millis) } else { None }
    };
    UNITS.iter().find_map(millis).map(Duration::from_millis).filter(|length| *length <= LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_length_is_its_number_times_its_unit(number in 0u64..3650, unit in 0usize..5) {
            let (name, millis) = UNITS[unit];
            let length = parse_length(&format!("{number}{name}"));
            prop_assert_eq!(length, Some(Duration::from_millis(number * millis)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}|[0-9]{1,30}(ms|s|m|h|d)?") {
            let _ = parse_length(&text);
        }
    }

    #[test]
    fn a_length_needs_a_unit_and_plain_digits() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "+1s",
            " 1s",
            "1 s",
            "1.5s",
            "1S",
            "1w",
            "1_0s",
            "3651d",
            "99999999999999999d",
        ] {
            assert_eq!(parse_length(text), None, "{text}");
        }
    }
}
