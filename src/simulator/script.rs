//! Parses fault scripts; the format is described in the module `simulator`.

use std::str::FromStr;
use std::time::Duration;

use super::faults::{Fault, FaultRule, When};
use crate::domain;

/// An invalid rule, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRule(String);

/// Reads a script of faults: one rule a line.
///
/// # Errors
/// All the lines that can't be read, with their numbers.
pub fn parse_script(text: &str) -> Result<Vec<FaultRule>, Vec<BadRule>> {
    let (mut rules, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split_once('#').map_or(line, |(rule, _)| rule).trim();
        if line.is_empty() {
            continue;
        }
        match parse_line(line) {
            Ok(rule) => rules.push(rule),
            Err(BadRule(why)) => bad.push(BadRule(format!("line {number}: {why}"))),
        }
    }
    if bad.is_empty() { Ok(rules) } else { Err(bad) }
}

/// Reads `FAULT:SHARE`, the form of the flag: `429:0.05`, `slow=2s:10%`; without a share it always strikes.
impl FromStr for FaultRule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (fault, share) = text.split_once(':').map_or((text, None), |(fault, share)| (fault, Some(share)));
        let per_million = share.map(parse_share).transpose()?;
        Ok(Self { fault: parse_fault(fault)?, when: When { per_million, ..When::default() } })
    }
}

fn parse_line(line: &str) -> Result<FaultRule, BadRule> {
    let mut words = line.split_whitespace();
    let mut rule = FaultRule::always(parse_fault(words.next().unwrap_or_default())?);
    for word in words {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| BadRule(format!("{word:?} is not a condition; conditions look like page=2")))?;
        let when = &mut rule.when;
        match name {
            "request" => (when.first, when.last) = parse_numbers(value)?,
            "every" => when.every = Some(parse_number(value)?),
            "page" => when.page = Some(parse_number(value)?),
            "times" => when.times = Some(parse_number(value)?),
            "path" => when.path = Some(value.to_owned()),
            "query" => when.query = Some(value.to_owned()),
            "share" => when.per_million = Some(parse_share(value)?),
            "retry-after" => match &mut rule.fault {
                Fault::Status { retry_after, .. } => *retry_after = Some(parse_length(value)?),
                Fault::Reset
                | Fault::Hang
                | Fault::Truncate
                | Fault::Html
                | Fault::ErrorBody
                | Fault::EmptyPage
                | Fault::Slow(_)
                | Fault::Delay(_)
                | Fault::Hold(_) => {
                    return Err(BadRule("retry-after is allowed only with a status".to_owned()));
                }
            },
            _ => {
                let known = "request, every, page, path, query, share, times, retry-after";
                return Err(BadRule(format!("unknown condition {name:?}; known are {known}")));
            }
        }
    }
    Ok(rule)
}

fn parse_fault(text: &str) -> Result<Fault, BadRule> {
    let (word, length) = text.split_once('=').map_or((text, None), |(word, length)| (word, Some(length)));
    let length = length.map(parse_length).transpose()?;
    Ok(match (word, length) {
        ("reset", None) => Fault::Reset,
        ("hang", None) => Fault::Hang,
        ("truncate", None) => Fault::Truncate,
        ("html", None) => Fault::Html,
        ("error-body", None) => Fault::ErrorBody,
        ("empty-page", None) => Fault::EmptyPage,
        ("slow", length) => Fault::Slow(length.unwrap_or(Duration::from_secs(10))),
        ("delay", length) => Fault::Delay(length.unwrap_or(Duration::from_secs(5))),
        (word, None) => match word.parse() {
            Ok(status @ 400..=599) => Fault::Status { status, retry_after: None },
            Ok(_) | Err(_) => return Err(unknown_fault(text)),
        },
        (_, Some(_)) => return Err(unknown_fault(text)),
    })
}

fn unknown_fault(text: &str) -> BadRule {
    let known = "a status from 400 to 599, reset, hang, truncate, html, error-body, empty-page, slow[=LENGTH], delay[=LENGTH]";
    BadRule(format!("unknown fault {text:?}; known are {known}"))
}

fn parse_number(text: &str) -> Result<u64, BadRule> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| BadRule(format!("{text:?} is not an integer from 1")))
}

/// Reads `3`, `3..7` (both included) or `3..`.
fn parse_numbers(text: &str) -> Result<(Option<u64>, Option<u64>), BadRule> {
    match text.split_once("..") {
        None => parse_number(text).map(|number| (Some(number), Some(number))),
        Some((first, "")) => Ok((Some(parse_number(first)?), None)),
        Some((first, last)) => Ok((Some(parse_number(first)?), Some(parse_number(last)?))),
    }
}

/// Reads `5%` or `0.05`, as parts of a million.
fn parse_share(text: &str) -> Result<u64, BadRule> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / whole);
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    let share = share.ok_or_else(|| BadRule(format!("{text:?} is not a share, such as 5% or 0.05")))?;
    Ok((share * 1_000_000.0).round() as u64)
}

fn parse_length(text: &str) -> Result<Duration, BadRule> {
    domain::parse_length(text)
        .ok_or_else(|| BadRule(format!("{text:?} is not a length: an integer with ms, s, m, h or d")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_script_in_the_essay() {
        let essay = include_str!("mod.rs");
        let script: String = essay
            .lines()
            .skip_while(|line| !line.contains("```text"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| format!("{}\n", line.trim_start_matches("//! ")))
            .collect();
        let rules = parse_script(&script).unwrap();
        assert_eq!(rules.len(), 5);
        assert!(
            matches!(rules[0].fault, Fault::Status { status: 429, retry_after: Some(wait) } if wait.as_secs() == 2)
        );
        assert_eq!((rules[0].when.first, rules[0].when.last), (Some(3), Some(7)));
        assert_eq!((rules[1].when.page, rules[1].when.times), (Some(2), Some(1)));
        assert_eq!(rules[2].when.per_million, Some(50_000));
        assert_eq!(rules[3].when.query.as_deref(), Some("status=completed"));
    }

    #[test]
    fn names_every_bad_line() {
        let bad = parse_script("oops\n429\n# fine\nreset page=0\nhang retry-after=1s\n600").unwrap_err();
        let lines: Vec<_> = bad.iter().map(|b| b.to_string().split(':').next().unwrap().to_owned()).collect();
        assert_eq!(lines, ["line 1", "line 4", "line 5", "line 6"]);
    }

    #[test]
    fn reads_the_flags_form() {
        let rule: FaultRule = "429:0.05".parse().unwrap();
        assert_eq!(rule.when.per_million, Some(50_000));
        let rule: FaultRule = "slow=2s:10%".parse().unwrap();
        assert!(matches!(rule.fault, Fault::Slow(length) if length.as_secs() == 2));
        assert!("429:2".parse::<FaultRule>().is_err());
        assert!("nothing".parse::<FaultRule>().is_err());
    }
}
