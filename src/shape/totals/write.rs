//! Writes totals as JSON and as CSV.

use super::fold::{GroupId, GroupTotals, KeyPart, Stat, Totals, TotalsError};
use super::{GroupKey, GroupValue};
use crate::domain::Span;
use crate::shape::csv::{CsvCell, write_record};
use crate::shape::path::{Path, json_key};

impl Totals {
    /// Writes the members of the JSON response from `total` on, without braces around them. For groups with a time, they
    /// include the part of `span` that the group covers.
    ///
    /// # Errors
    /// A sum is too large.
    pub fn write_json(&self, span: Option<Span>, out: &mut Vec<u8>) -> Result<(), TotalsError> {
        let all = self.all()?;
        let zone = json_key(self.calendar.zone().name().as_bytes());
        put(out, &format!("\"total\":{},\"time_zone\":{zone},\"stats\":", all.count));
        self.write_stats(&all, out);
        if !self.question.group_by().is_empty() {
            let names: Vec<_> = self.question.group_by().iter().map(json_name).collect();
            put(out, &format!(",\"group_by\":[{}],\"groups\":[", names.join(",")));
            for (at, (id, parts, group)) in self.sorted().into_iter().enumerate() {
                put(out, if at > 0 { ",\n" } else { "\n" });
                self.write_group(id, &parts, group, span, out);
            }
            put(out, "]");
        }
        self.write_histogram(out);
        Ok(())
    }

    /// Writes a table: a header line, and a line for each group; without `group_by`, one line for all rows.
    ///
    /// # Errors
    /// A sum is too large.
    pub fn write_csv(&self, out: &mut Vec<u8>) -> Result<(), TotalsError> {
        let mut names: Vec<_> = self.question.group_by().iter().map(GroupKey::name).collect();
        names.push("count".to_owned());
        for path in self.question.stats().iter().map(Path::canonical) {
            names.extend(["count", "sum", "min", "max"].map(|what| format!("{path}.{what}")));
        }
        write_record(names.iter().map(|name| CsvCell::quoted(name)), out);
        if self.question.group_by().is_empty() {
            write_line(&[], &self.all()?, out);
        } else {
            // The table does not have the sum of all groups, but must fail like the JSON response if it is too large.
            self.all()?;
            self.sorted().into_iter().for_each(|(_, parts, group)| write_line(&parts, group, out));
        }
        Ok(())
    }

    /// The groups, ascending by key.
    fn sorted(&self) -> Vec<(GroupId, Vec<KeyPart>, &GroupTotals)> {
        let mut groups: Vec<_> =
            self.groups.iter().map(|(id, group)| (*id, self.parts(*id), group)).collect();
        groups.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        groups
    }

    fn write_group(
        &self,
        id: GroupId,
        parts: &[KeyPart],
        group: &GroupTotals,
        span: Option<Span>,
        out: &mut Vec<u8>,
    ) {
        let keys = self.question.group_by().iter().zip(parts);
        let keys: Vec<_> =
            keys.map(|(key, part)| format!("{}:{}", json_name(key), json_part(part))).collect();
        put(out, &format!("{{\"key\":{{{}}}", keys.join(",")));
        if let Some(span) = self.span_of(id, span) {
            put(out, &format!(",\"from\":\"{}\",\"to\":\"{}\"", span.from(), span.to()));
        }
        put(out, &format!(",\"count\":{},\"stats\":", group.count));
        self.write_stats(group, out);
        put(out, "}");
    }

    /// The part of the question's span that a group covers.
    fn span_of(&self, id: GroupId, span: Option<Span>) -> Option<Span> {
        let times = self.calendar.times(id.time?).iter().map(|time| time.span);
        times.chain(span).reduce(|one, two| one.intersection(two).unwrap_or(one))
    }

    fn write_stats(&self, group: &GroupTotals, out: &mut Vec<u8>) {
        let stats = self.question.stats().iter().zip(&group.stats);
        let stats: Vec<_> =
            stats.map(|(path, stat)| format!("{}:{}", path_name(path), json_stat(stat))).collect();
        put(out, &format!("{{{}}}", stats.join(",")));
    }

    fn write_histogram(&self, out: &mut Vec<u8>) {
        let Some(histogram) = self.question.histogram() else { return };
        let bounds: Vec<_> = histogram.bounds.iter().map(ToString::to_string).collect();
        let counts: Vec<_> = self.histogram.counts.iter().map(u64::to_string).collect();
        let path = path_name(&histogram.path);
        let (bounds, counts) = (bounds.join(","), counts.join(","));
        put(out, &format!(",\"histogram\":{{\"path\":{path},\"bounds\":[{bounds}],\"counts\":[{counts}]"));
        put(out, &skipped(self.histogram.skipped));
        put(out, "}");
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn path_name(path: &Path) -> String {
    json_key(path.canonical().as_bytes())
}

fn json_name(key: &GroupKey) -> String {
    json_key(key.name().as_bytes())
}

fn json_part(part: &KeyPart) -> String {
    match part {
        KeyPart::Undated | KeyPart::Value(GroupValue::Null) => "null".to_owned(),
        KeyPart::Time(_, label) => json_key(label.as_bytes()),
        KeyPart::Agent(agent) => format!("\"{agent}\""),
        KeyPart::Value(GroupValue::Bool(value)) => value.to_string(),
        KeyPart::Value(GroupValue::Number(literal)) => literal.to_string(),
        KeyPart::Value(GroupValue::Text(text)) => json_key(text.as_bytes()),
    }
}

fn json_stat(stat: &Stat) -> String {
    let Stat { count, sum, .. } = stat;
    let (min, max) = match stat.range {
        Some((min, max)) => (min.to_string(), max.to_string()),
        None => ("null".to_owned(), "null".to_owned()),
    };
    format!("{{\"count\":{count},\"sum\":{sum},\"min\":{min},\"max\":{max}{}}}", skipped(stat.skipped))
}

fn skipped(count: u64) -> String {
    if count == 0 { String::new() } else { format!(",\"skipped\":{count}") }
}

fn write_line(parts: &[KeyPart], group: &GroupTotals, out: &mut Vec<u8>) {
    let plain = |text: String| CsvCell::Plain(text.into());
    let mut cells: Vec<_> = parts.iter().map(cell).collect();
    cells.push(plain(group.count.to_string()));
    for stat in &group.stats {
        cells.push(plain(stat.count.to_string()));
        cells.push(plain(stat.sum.to_string()));
        let (min, max) = stat.range.unzip();
        cells.extend([min, max].map(|end| end.map_or(CsvCell::Empty, |end| plain(end.to_string()))));
    }
    write_record(cells, out);
}

/// The cell of a part of a key. Null is an empty cell and an empty string is `""`, so that they differ.
fn cell(part: &KeyPart) -> CsvCell<'_> {
    match part {
        KeyPart::Undated | KeyPart::Value(GroupValue::Null) => CsvCell::Empty,
        KeyPart::Value(GroupValue::Text(text)) if text.is_empty() => CsvCell::quoted(text),
        KeyPart::Time(_, text) => CsvCell::Plain(text.into()),
        KeyPart::Value(GroupValue::Number(text) | GroupValue::Text(text)) => CsvCell::Plain((&**text).into()),
        KeyPart::Value(GroupValue::Bool(value)) => CsvCell::Plain(value.to_string().into()),
        KeyPart::Agent(agent) => CsvCell::Plain(agent.to_string().into()),
    }
}
