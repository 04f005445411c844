use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::Timestamp;

/// The width of the bar, in characters.
const BAR: usize = 24;

/// The progress of an export: the sink updates it, and the display reads it.
#[derive(Debug)]
pub struct Meter {
    reading: Mutex<MeterReading>,
}

/// What a [`Meter`] shows at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct MeterReading {
    /// When the export began.
    pub began: Instant,
    /// The number of rows written.
    pub rows: u64,
    /// The number of bytes written.
    pub bytes: u64,
    /// When the last written row was created.
    pub back_to: Option<Timestamp>,
    /// How much there is to export.
    pub goal: HistoryGoal,
    /// The number of agents whose rows have begun.
    pub agents: u64,
    /// What the export waits for, in words.
    pub waits_for: Option<String>,
}

/// How much there is to export, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryGoal {
    /// The newest and the oldest instant, in this order.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The most rows of each agent.
    pub limit: Option<u64>,
    /// The number of agents.
    pub agents: Option<u64>,
}

impl Meter {
    /// A meter for an export that begins now.
    pub fn new(goal: HistoryGoal) -> Self {
        let reading = MeterReading {
            began: Instant::now(),
            rows: 0,
            bytes: 0,
            back_to: None,
            goal,
            agents: 0,
            waits_for: None,
        };
        Self { reading: Mutex::new(reading) }
    }

    /// The present state.
    pub fn reading(&self) -> MeterReading {
        self.reading.lock().clone()
    }

    /// Reports the number of rows written so far, and the bytes written since the last report.
    pub(super) fn wrote(&self, rows: u64, bytes: u64) {
        let mut reading = self.reading.lock();
        if rows > reading.rows {
            reading.waits_for = None;
        }
        reading.rows = rows;
        reading.bytes += bytes;
    }

    /// Reports the creation date of the last row.
    pub(super) fn reached(&self, date: Option<Timestamp>) {
        let mut reading = self.reading.lock();
        reading.back_to = date.or(reading.back_to);
    }

    /// Reports that the rows of the next agent begin.
    pub(super) fn began_agent(&self) {
        let mut reading = self.reading.lock();
        reading.agents += 1;
        reading.back_to = None;
    }

    /// Sets the oldest instant to expect.
    pub fn history_begins(&self, oldest: Timestamp) {
        let mut reading = self.reading.lock();
        if let Some((newest, _)) = reading.goal.span {
            reading.goal.span = Some((newest, oldest));
        }
    }

    /// Sets what the export waits for; `None` if it does not wait.
    pub fn waits(&self, what: Option<String>) {
        self.reading.lock().waits_for = what;
    }
}

impl MeterReading {
    /// The fraction of the export that is done, from 0 to 1, if it can be estimated.
    pub fn part(&self) -> Option<f64> {
        match (self.goal.agents?, self.goal.limit) {
            (1, Some(limit)) => Some((self.rows as f64 / limit.max(1) as f64).min(1.0)),
            (1, None) => self.part_of_span(),
            (agents, _) => {
                let complete = self.agents.checked_sub(1)? as f64;
                Some((complete + self.part_of_span().unwrap_or(0.0)).min(agents as f64) / agents as f64)
            }
        }
    }

    /// The fraction of the span that the present agent has behind it.
    fn part_of_span(&self) -> Option<f64> {
        let (newest, oldest) = self.goal.span?;
        let whole = newest.since(oldest).as_secs_f64();
        (whole > 0.0).then_some((newest.since(self.back_to?).as_secs_f64() / whole).clamp(0.0, 1.0))
    }

    /// The progress as one line of text.
    pub fn line(&self, elapsed: Duration) -> String {
        let mut parts = Vec::new();
        if let Some(part) = self.part() {
            parts.push(format!("{:.0}%", (part * 100.0).floor()));
        }
        // Near the front, so that a narrow terminal shows it.
        parts.extend(self.waits_for.clone());
        parts.push(format!("{} executions", number(self.rows)));
        let seconds = elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { (self.bytes as f64 / seconds) as u64 } else { 0 };
        parts.push(format!("{}, {}/s", amount(self.bytes), amount(rate)));
        if self.goal.agents != Some(1) && self.agents > 0 {
            parts.push(match self.goal.agents {
                Some(agents) => format!("agent {} of {agents}", self.agents),
                None => format!("agent {}", self.agents),
            });
        }
        if let Some(date) = self.back_to {
            parts.push(format!("back to {}", &date.to_string()[..10]));
        }
        parts.join(", ")
    }

    /// The line for a terminal of this width, after a bar if the progress is known and there is room for it.
    pub fn bar(&self, elapsed: Duration, columns: usize) -> String {
        let line = self.line(elapsed);
        let text = match self.part() {
            Some(part) if columns > line.len() + BAR + 3 => {
                let done = ((part * BAR as f64) as usize).min(BAR);
                format!("[{}{}] {line}", "=".repeat(done), " ".repeat(BAR - done))
            }
            Some(_) | None => line,
        };
        // Some terminals wrap when the last column is filled.
        text.chars().take(columns.saturating_sub(1)).collect()
    }
}

/// Formats a number with thousands separators.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number of bytes with decimal units, such as `1.5 MB`.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Rounding;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text, Rounding::Down).unwrap()
    }

    fn reading(goal: HistoryGoal) -> MeterReading {
        let meter = Meter::new(goal);
        meter.wrote(12_345, 14_020_000);
        meter.reached(Some(at("2026-08-14T10:00:00Z")));
        meter.reading()
    }

    const SECONDS: Duration = Duration::from_secs(2);

    #[test]
    fn formats_numbers_and_amounts() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), text);
        }
        for (value, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (999_960, "1.0 MB"), (113_700_000, "113.7 MB")]
        {
            assert_eq!(amount(value), text);
        }
    }

    #[test]
    fn measures_progress_by_how_far_back_in_time_the_rows_are() {
        let span = Some((at("2026-11-14T10:00:00Z"), at("2026-05-14T10:00:00Z")));
        let reading = reading(HistoryGoal { span, limit: None, agents: Some(1) });
        assert_eq!(reading.line(SECONDS), "50%, 12,345 executions, 14.0 MB, 7.0 MB/s, back to 2026-08-14");
        let line = reading.line(SECONDS);
        assert_eq!(reading.bar(SECONDS, line.len() + 28), format!("[============            ] {line}"));
        assert_eq!(reading.bar(SECONDS, line.len() + 27), line, "without room, the bar is left out");
        assert_eq!(reading.bar(SECONDS, 20).chars().count(), 19);
        assert_eq!(reading.bar(SECONDS, 0), "");
    }

    #[test]
    fn without_a_span_there_is_no_percentage() {
        let reading = reading(HistoryGoal { agents: Some(1), ..HistoryGoal::default() });
        assert_eq!(reading.line(SECONDS), "12,345 executions, 14.0 MB, 7.0 MB/s, back to 2026-08-14");
    }

    #[test]
    fn with_a_limit_measures_progress_in_rows() {
        let goal = HistoryGoal { limit: Some(24_690), agents: Some(1), span: None };
        assert_eq!(reading(goal).part(), Some(0.5));
    }

    #[test]
    fn counts_several_agents() {
        let meter = Meter::new(HistoryGoal { agents: Some(4), ..HistoryGoal::default() });
        assert_eq!(meter.reading().part(), None);
        (0..3).for_each(|_| meter.began_agent());
        assert_eq!(meter.reading().part(), Some(0.5));
        assert_eq!(meter.reading().line(SECONDS), "50%, 0 executions, 0 B, 0 B/s, agent 3 of 4");
        let all = Meter::new(HistoryGoal::default());
        all.began_agent();
        assert_eq!(all.reading().line(SECONDS), "0 executions, 0 B, 0 B/s, agent 1");
    }

    #[test]
    fn shows_what_it_waits_for_until_rows_arrive() {
        let meter = Meter::new(HistoryGoal::default());
        meter.waits(Some("waiting for the budget".to_owned()));
        assert!(meter.reading().line(SECONDS).starts_with("waiting for the budget, 0 executions, "));
        meter.wrote(1, 10);
        assert_eq!(meter.reading().waits_for, None);
    }
}
