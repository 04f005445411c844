use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use clap::ArgMatches;

use super::faults::SettingErrors;
use super::flags::{Arity, Flag};
use super::values::Parsed;

/// Reads the settings of one command from all sources, and records every fault.
///
/// A method returns `None` only if it has recorded a fault, so in the end either all values exist or there are faults.
#[derive(Debug)]
pub(super) struct SettingsReader {
    given: BTreeMap<&'static str, RawSetting>,
    faults: SettingErrors,
}

/// The value given for a flag.
#[derive(Clone, Debug)]
struct RawSetting {
    values: Vec<String>,
    /// The flag or variable that gave it.
    source: String,
}

/// Reads every field of a struct, each with a method and a parser or with a function of the reader, and only then checks
/// whether any failed.
macro_rules! read_all {
    (
        $read:expr,
        $Type:ident {
            $($field:ident: $method:ident($flag:literal, $parse:path)),+ $(,)?
            $(; $($group:ident: $function:path),+ $(,)?)?
        }
    ) => {{
        $(let $field = $read.$method($flag, $parse);)+
        $($(let $group = $function($read);)+)?
        Some(()).and_then(|()| Some($Type { $($field: $field?,)+ $($($group: $group?,)+)? }))
    }};
}
pub(super) use read_all;

impl SettingsReader {
    /// Creates a reader for the command with these flags. The command line overrides the environment, which overrides the
    /// defaults.
    pub(super) fn new(
        flags: &[Flag],
        matches: &ArgMatches,
        environment: &BTreeMap<String, String>,
        faults: SettingErrors,
    ) -> Self {
        let given = flags.iter().filter_map(|flag| Some((flag.name, given(flag, matches, environment)?)));
        Self { given: given.collect(), faults }
    }

    /// A setting that has a default, or is required.
    pub(super) fn one<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        match self.optional(name, parse)? {
            Some(value) => Some(value),
            None => {
                self.faults.push(format!("--{name}"), "is required");
                None
            }
        }
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<Option<T>> {
        let Some(given) = self.given.get(name) else { return Some(None) };
        match given.values.as_slice() {
            [value] => given.parse(value, parse, &mut self.faults).map(Some),
            _ => {
                self.faults.push(&given.source, "given more than once");
                None
            }
        }
    }

    /// A setting that may be given any number of times.
    pub(super) fn many<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        let Some(given) = self.given.get(name) else { return Some(Vec::new()) };
        let read = |value: &String| given.parse(value, &parse, &mut self.faults);
        // Collected in two steps, so that all values are checked and not only those up to the first fault.
        let values: Vec<_> = given.values.iter().map(read).collect();
        values.into_iter().collect()
    }

    /// How faults name a setting: the flag or variable that gave it.
    pub(super) fn source(&self, name: &str) -> String {
        self.given.get(name).map_or_else(|| format!("--{name}"), |given| given.source.clone())
    }

    /// Records a fault of a setting whose value can be parsed but not used.
    pub(super) fn fault(&mut self, name: &str, problem: impl Display) {
        let source = self.source(name);
        self.faults.push(source, problem);
    }

    /// A reader for another command's flags: those with these names as they are given here, all others with their defaults.
    pub(super) fn for_flags(&self, flags: &[Flag], names: &[&str]) -> Self {
        let given = flags.iter().filter_map(|flag| {
            let own = self.given.get(flag.name).filter(|_| names.contains(&flag.name)).cloned();
            Some((flag.name, own.or_else(|| default(flag))?))
        });
        Self { given: given.collect(), faults: SettingErrors::default() }
    }

    /// Records the faults of another reader.
    pub(super) fn extend(&mut self, faults: SettingErrors) {
        self.faults.extend(faults);
    }

    /// The effective settings by flag, for the log.
    pub(super) fn effective(&self) -> Vec<(&'static str, String)> {
        self.given.iter().map(|(name, given)| (*name, given.values.join(","))).collect()
    }

    /// Finishes reading.
    ///
    /// # Errors
    /// All faults that were recorded.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, SettingErrors> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(self.faults),
        }
    }
}

impl RawSetting {
    fn parse<T>(
        &self,
        value: &str,
        parse: impl Fn(&str) -> Parsed<T>,
        faults: &mut SettingErrors,
    ) -> Option<T> {
        let refuse =
            |accepted| faults.push(&self.source, format!("{:?} is not {accepted}", without_password(value)));
        parse(value).map_err(refuse).ok()
    }
}

/// The value without what may be a user and a password in a URL.
fn without_password(value: &str) -> Cow<'_, str> {
    let parts = value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
    parts.map_or(Cow::Borrowed(value), |(scheme, host)| Cow::Owned(format!("{scheme}://***@{host}")))
}

fn given(flag: &Flag, matches: &ArgMatches, environment: &BTreeMap<String, String>) -> Option<RawSetting> {
    if let Some(values) = matches.get_many::<String>(flag.name) {
        return Some(RawSetting { values: values.cloned().collect(), source: format!("--{}", flag.name) });
    }
    if let Some((variable, value)) = flag.variable().and_then(|name| environment.get_key_value(&name)) {
        let values = match flag.arity {
            Arity::One | Arity::Switch => vec![value.clone()],
            Arity::Many => value.split(',').map(|part| part.trim().to_owned()).collect(),
        };
        return Some(RawSetting { values, source: variable.clone() });
    }
    default(flag)
}

fn default(flag: &Flag) -> Option<RawSetting> {
    let default = flag.default?;
    Some(RawSetting { values: vec![default.to_owned()], source: format!("--{}", flag.name) })
}
