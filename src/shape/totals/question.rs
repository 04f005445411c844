use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::{AgentId, ColumnId};
use crate::shape::extract::Extractor;
use crate::shape::list::{self, ListError, ListItem, excerpt};
use crate::shape::path::Path;
use crate::shape::{Decimal, TZDB_RELEASE, Zone, form_digest};

/// The paths that are summed if none are named.
pub(super) const DEFAULT_STATS: &str = "total_cost,conversation_duration";

/// The most keys that groups are made by.
pub(super) const MOST_GROUP_KEYS: usize = 3;
const MOST_STATS: usize = 8;
const MOST_BOUNDS: usize = 32;

/// What totals are asked for, dates and filters aside.
#[derive(Clone, Debug)]
pub struct SummaryQuestion {
    group_by: Vec<GroupKey>,
    stats: Vec<Path>,
    histogram: Option<Histogram>,
    pub(super) slots: Slots,
    columns: Arc<[ColumnId]>,
}

/// Something that groups are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupKey {
    /// The hour, day, week or month in which a row was created.
    Time(Unit),
    /// The agent that was asked for.
    AgentId,
    /// A value of the row.
    Path(Path),
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An hour, with its offset.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday.
    Week,
    /// A month.
    Month,
}

/// How many values are in which bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Where the values are.
    pub path: Path,
    /// The upper ends of the buckets, ascending and inclusive; one more bucket is above them all.
    pub bounds: Vec<Decimal>,
}

/// The parameters as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryParams<'a> {
    /// Values of `group_by`.
    pub group_by: &'a [String],
    /// Values of `stats`.
    pub stats: &'a [String],
    /// Value of `histogram`.
    pub histogram: Option<&'a str>,
    /// Value of `bounds`.
    pub bounds: Option<&'a str>,
}

/// A parameter can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// One with a list of paths.
    #[error("`{parameter}` is not valid: {error}")]
    List {
        /// Which one.
        parameter: &'static str,
        /// What is wrong with it.
        error: ListError,
    },
    /// `bounds`.
    #[error("`bounds` is not valid; accepted: 1 to {MOST_BOUNDS} ascending decimals, such as `0,30,60.5`")]
    Bounds,
    /// One of the two without the other.
    #[error("`histogram` and `bounds` need each other; accepted: both or neither")]
    Unpaired,
}

/// Where the values of a row are that the question needs.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    pub(super) extractor: Extractor,
    /// Of the paths in `group_by`.
    pub(super) keys: Vec<usize>,
    /// Of `stats`, and last that of the histogram.
    pub(super) numbers: Vec<usize>,
}

impl SummaryQuestion {
    /// Reads the parameters.
    ///
    /// # Errors
    /// Names the parameter that can't be read.
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
        let slots = Slots::new(&group_by, &stats, histogram.as_ref());
        let mut question = Self { group_by, stats, histogram, slots, columns: Arc::default() };
        question.columns =
            question.key_paths().map(key_column).chain(question.number_paths().map(number_column)).collect();
        Ok(question)
    }

    /// What groups are made by.
    pub fn group_by(&self) -> &[GroupKey] {
        &self.group_by
    }

    /// What is summed.
    pub fn stats(&self) -> &[Path] {
        &self.stats
    }

    /// What is counted by size.
    pub const fn histogram(&self) -> Option<&Histogram> {
        self.histogram.as_ref()
    }

    /// The units of the calendar that groups are made by.
    pub(super) fn units(&self) -> Vec<Unit> {
        let unit = |key: &GroupKey| if let GroupKey::Time(unit) = key { Some(*unit) } else { None };
        self.group_by.iter().filter_map(unit).collect()
    }

    /// What of a row the question needs. Facts read for one question serve every question with the same columns, whatever
    /// its zone, its units and its bounds.
    pub const fn columns(&self) -> &Arc<[ColumnId]> {
        &self.columns
    }

    fn key_paths(&self) -> impl Iterator<Item = &Path> {
        self.group_by.iter().filter_map(GroupKey::path)
    }

    fn number_paths(&self) -> impl Iterator<Item = &Path> {
        self.stats.iter().chain(self.histogram.iter().map(|histogram| &histogram.path))
    }

    /// The short digest for an ETag: of the parameters in their one spelling, of the zone and of the release of its data.
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

/// Names the column of a path that groups are made by.
fn key_column(path: &Path) -> ColumnId {
    column(&format!("group key, 1: {}", path.canonical()))
}

/// Names the column of a path that is summed.
fn number_column(path: &Path) -> ColumnId {
    column(&format!("decimal, 1: {}", path.canonical()))
}

fn column(text: &str) -> ColumnId {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(text)[..16]);
    ColumnId::new(half)
}

impl GroupKey {
    /// The path that it is, unless it is fanfold's own.
    const fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Time(_) | Self::AgentId => None,
        }
    }

    /// The name of the key.
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

impl Slots {
    fn new(group_by: &[GroupKey], stats: &[Path], histogram: Option<&Histogram>) -> Self {
        let key_paths = || group_by.iter().filter_map(GroupKey::path);
        let number_paths = || stats.iter().chain(histogram.map(|histogram| &histogram.path));
        let extractor = Extractor::new(key_paths().chain(number_paths()));
        let keys = key_paths().filter_map(|path| extractor.slot(path)).collect();
        let numbers = number_paths().filter_map(|path| extractor.slot(path)).collect();
        Self { extractor, keys, numbers }
    }
}

fn paths<S: AsRef<str>>(
    parameter: &'static str,
    values: &[S],
    most: usize,
) -> Result<Vec<Path>, QuestionError> {
    let error = |error| QuestionError::List { parameter, error };
    let paths = list::parse_paths(values, most).map_err(error)?;
    let items: Vec<_> = paths.iter().cloned().map(ListItem::Path).collect();
    list::check_once(&items).map_err(error)?;
    Ok(paths)
}

fn group_by(values: &[String]) -> Result<Vec<GroupKey>, QuestionError> {
    let error = |error| QuestionError::List { parameter: "group_by", error };
    let items = list::parse(values).map_err(error)?;
    if items.len() > MOST_GROUP_KEYS {
        return Err(error(ListError::TooMany(MOST_GROUP_KEYS)));
    }
    list::check_once(&items).map_err(error)?;
    let key = |item| match item {
        ListItem::Path(path) => Ok(GroupKey::Path(path)),
        ListItem::Own(name) => match name.as_str() {
            "@hour" => Ok(GroupKey::Time(Unit::Hour)),
            "@day" => Ok(GroupKey::Time(Unit::Day)),
            "@week" => Ok(GroupKey::Time(Unit::Week)),
            "@month" => Ok(GroupKey::Time(Unit::Month)),
            "@agent_id" => Ok(GroupKey::AgentId),
            other => Err(error(ListError::Reserved(excerpt(other)))),
        },
    };
    items.into_iter().map(key).collect()
}

fn read_bounds(text: &str) -> Option<Vec<Decimal>> {
    let bounds: Vec<_> = text.split(',').take(MOST_BOUNDS + 1).map(Decimal::parse).collect::<Option<_>>()?;
    (bounds.len() <= MOST_BOUNDS && bounds.is_sorted_by(|a, b| a < b)).then_some(bounds)
}
