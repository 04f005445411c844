use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::{AgentId, ColumnId};
use crate::shape::extract::Extractor;
use crate::shape::list::{self, ListError, ListItem, excerpt};
use crate::shape::path::Path;
use crate::shape::{Decimal, TZDB_RELEASE, Zone, form_digest};

/// The paths to sum by default.
const DEFAULT_STATS: &str = "total_cost,conversation_duration";

/// The most keys to group by.
pub(super) const MOST_GROUP_KEYS: usize = 3;

/// The most paths to sum.
const MOST_STATS: usize = 8;

/// The most bounds of a histogram.
const MOST_BOUNDS: usize = 32;

/// The requested totals, without the dates and filters of the rows.
#[derive(Clone, Debug)]
pub struct SummaryQuestion {
    group_by: Vec<GroupKey>,
    stats: Vec<Path>,
    histogram: Option<Histogram>,
    pub(super) slots: Slots,
    columns: Arc<[ColumnId]>,
}

/// A key to group by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupKey {
    /// The hour, day, week or month in which a row was created.
    Time(Unit),
    /// The requested agent.
    AgentId,
    /// A value of the row.
    Path(Path),
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An hour, named with its offset from UTC.
    Hour,
    /// A day.
    Day,
    /// A week, which starts on Monday.
    Week,
    /// A month.
    Month,
}

/// A request to count values by size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// The path of the values.
    pub path: Path,
    /// The inclusive upper ends of the buckets, ascending. One more bucket has the values above all of them.
    pub bounds: Vec<Decimal>,
}

/// The parameters of a request, unparsed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryParams<'a> {
    /// The values of `group_by`.
    pub group_by: &'a [String],
    /// The values of `stats`.
    pub stats: &'a [String],
    /// The value of `histogram`.
    pub histogram: Option<&'a str>,
    /// The value of `bounds`.
    pub bounds: Option<&'a str>,
}

/// Why a parameter can't be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A parameter with a list of paths is invalid.
    #[error("`{parameter}` is not valid: {error}")]
    List {
        /// The name of the parameter.
        parameter: &'static str,
        /// What is wrong with the list.
        error: ListError,
    },
    /// `bounds` is invalid.
    #[error("`bounds` is not valid; accepted: 1 to {MOST_BOUNDS} ascending decimals, such as `0,30,60.5`")]
    Bounds,
    /// Only one of `histogram` and `bounds` is given.
    #[error("`histogram` and `bounds` need each other; accepted: both or neither")]
    Unpaired,
}

/// Where an extractor puts the values that the question needs.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    pub(super) extractor: Extractor,
    /// The slots of the paths in `group_by`.
    pub(super) keys: Vec<usize>,
    /// The slots of the paths in `stats`, followed by that of the histogram.
    pub(super) numbers: Vec<usize>,
}

impl SummaryQuestion {
    /// Parses the parameters.
    ///
    /// # Errors
    /// The first parameter that can't be parsed.
    pub fn parse(params: SummaryParams<'_>) -> Result<Self, QuestionError> {
        let group_by = if params.group_by.is_empty() { Vec::new() } else { group_by(params.group_by)? };
        let default = [DEFAULT_STATS.to_owned()];
        let given = if params.stats.is_empty() { &default } else { params.stats };
        let stats = paths("stats", given, MOST_STATS)?;
        let histogram = match (params.histogram, params.bounds) {
            (None, None) => None,
            (Some(path), Some(bounds)) => {
                let path = paths("histogram", &[path], 1)?.remove(0);
                Some(Histogram { path, bounds: read_bounds(bounds).ok_or(QuestionError::Bounds)? })
            }
            _ => return Err(QuestionError::Unpaired),
        };
        let keys: Vec<_> = group_by.iter().filter_map(GroupKey::path).collect();
        let numbers: Vec<_> = stats.iter().chain(histogram.iter().map(|histogram| &histogram.path)).collect();
        let key_columns = keys.iter().map(|path| column("group key, 1", path));
        let columns = key_columns.chain(numbers.iter().map(|path| column("decimal, 1", path))).collect();
        let extractor = Extractor::new(keys.iter().chain(&numbers).copied());
        let slots = |paths: Vec<&Path>| paths.into_iter().filter_map(|path| extractor.slot(path)).collect();
        let slots = Slots { keys: slots(keys), numbers: slots(numbers), extractor };
        Ok(Self { group_by, stats, histogram, slots, columns })
    }

    /// The keys to group by.
    pub fn group_by(&self) -> &[GroupKey] {
        &self.group_by
    }

    /// The paths to sum.
    pub fn stats(&self) -> &[Path] {
        &self.stats
    }

    /// The requested histogram.
    pub const fn histogram(&self) -> Option<&Histogram> {
        self.histogram.as_ref()
    }

    /// The units of the calendar to group by.
    pub(super) fn units(&self) -> Vec<Unit> {
        let unit = |key: &GroupKey| if let GroupKey::Time(unit) = key { Some(*unit) } else { None };
        self.group_by.iter().filter_map(unit).collect()
    }

    /// The columns that the question needs. Facts read for one question serve every question with the same columns,
    /// whatever its time zone, units and bounds.
    pub const fn columns(&self) -> &Arc<[ColumnId]> {
        &self.columns
    }

    /// The short digest for an ETag: of the canonical parameters, the time zone and the release of its data.
    pub fn form(&self, zone: &Zone, agents: &[AgentId]) -> String {
        let keys: Vec<_> = self.group_by.iter().map(GroupKey::name).collect();
        let stats: Vec<_> = self.stats.iter().map(Path::canonical).collect();
        let mut text = format!("group_by={}&stats={}", keys.join(","), stats.join(","));
        if let Some(Histogram { path, bounds }) = &self.histogram {
            let bounds: Vec<_> = bounds.iter().map(Decimal::to_string).collect();
            text += &format!("&histogram={}&bounds={}", path.canonical(), bounds.join(","));
        }
        text += &format!("&time_zone={}&tzdb={TZDB_RELEASE}", zone.name());
        if !agents.is_empty() {
            let mut agents: Vec<_> = agents.iter().map(AgentId::to_string).collect();
            agents.sort();
            text += &format!("&agents={}", agents.join(","));
        }
        form_digest(&text)
    }
}

/// The id of a column: a digest of the kind and version of its values, and of their path.
fn column(kind: &str, path: &Path) -> ColumnId {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(format!("{kind}: {}", path.canonical()))[..16]);
    ColumnId::new(half)
}

impl GroupKey {
    /// The path of a key that is one.
    const fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Time(_) | Self::AgentId => None,
        }
    }

    /// The name of the key in a response.
    pub fn name(&self) -> String {
        match self {
            Self::Time(Unit::Hour) => "@hour".to_owned(),
            Self::Time(Unit::Day) => "@day".to_owned(),
            Self::Time(Unit::Week) => "@week".to_owned(),
            Self::Time(Unit::Month) => "@month".to_owned(),
            Self::AgentId => "@agent_id".to_owned(),
            Self::Path(path) => path.canonical(),
        }
    }
}

fn paths<S: AsRef<str>>(
    parameter: &'static str,
    values: &[S],
    most: usize,
) -> Result<Vec<Path>, QuestionError> {
    let items = items(parameter, values, most)?;
    list::only_paths(items).map_err(|error| QuestionError::List { parameter, error })
}

fn group_by(values: &[String]) -> Result<Vec<GroupKey>, QuestionError> {
    let key = |item| match item {
        ListItem::Path(path) => Ok(GroupKey::Path(path)),
        ListItem::Own(name) => match name.as_str() {
            "@hour" => Ok(GroupKey::Time(Unit::Hour)),
            "@day" => Ok(GroupKey::Time(Unit::Day)),
            "@week" => Ok(GroupKey::Time(Unit::Week)),
            "@month" => Ok(GroupKey::Time(Unit::Month)),
            "@agent_id" => Ok(GroupKey::AgentId),
            other => {
                let error = ListError::Reserved(excerpt(other));
                Err(QuestionError::List { parameter: "group_by", error })
            }
        },
    };
    items("group_by", values, MOST_GROUP_KEYS)?.into_iter().map(key).collect()
}

/// The items of a list, none of them twice.
fn items<S: AsRef<str>>(
    parameter: &'static str,
    values: &[S],
    most: usize,
) -> Result<Vec<ListItem>, QuestionError> {
    let items = list::parse(values, most).and_then(|items| list::check_once(&items).map(|()| items));
    items.map_err(|error| QuestionError::List { parameter, error })
}

fn read_bounds(text: &str) -> Option<Vec<Decimal>> {
    let bounds: Vec<_> = text.split(',').take(MOST_BOUNDS + 1).map(Decimal::parse).collect::<Option<_>>()?;
    (bounds.len() <= MOST_BOUNDS && bounds.is_sorted_by(|a, b| a < b)).then_some(bounds)
}
