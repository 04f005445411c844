/// The text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics text 1.0.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which all other scrapers can read.
    Text,
}

impl Exposition {
    /// The format for this `Accept` header: OpenMetrics if it is named, otherwise the older one.
    pub fn accepted_by(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Converts OpenMetrics text to the older format.
///
/// In that format, a counter's family has the name of its samples including `_total`, an info is a gauge, and there are no
/// unit and end lines. Everything else is the same.
pub(super) fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let suffixes = suffixes(open_metrics);
    for line in open_metrics.lines() {
        match line.split_once(' ').and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
            Some(("#", ("UNIT", _))) => continue,
            Some(("#", (keyword, rest))) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let suffix = suffixes.iter().find(|(known, _)| *known == name).map_or("", |(_, s)| s);
                let rest = if keyword == "TYPE" && rest == "info" { "gauge" } else { rest };
                text.push_str(&format!("# {keyword} {name}{suffix} {rest}"));
            }
            Some(_) | None if line == "# EOF" => continue,
            Some(_) | None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// The suffixes that samples of counters and infos have in addition to their family's name.
fn suffixes(open_metrics: &str) -> Vec<(&str, &'static str)> {
    let of_type = |line: &str| match line {
        "counter" => Some("_total"),
        "info" => Some("_info"),
        _ => None,
    };
    let types = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.filter_map(|(name, kind)| Some((name, of_type(kind)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_families_like_their_samples() {
        let open_metrics = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                            a_seconds_sum 1.5\na_seconds_count 2\n# HELP b What.\n# TYPE b counter\nb_total{c=\"d e\"} 7\n\
                            # HELP f_build Which.\n# TYPE f_build info\nf_build_info{v=\"1\"} 1\n# EOF\n";
        let text = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 1.5\na_seconds_count 2\n\
                    # HELP b_total What.\n# TYPE b_total counter\nb_total{c=\"d e\"} 7\n\
                    # HELP f_build_info Which.\n# TYPE f_build_info gauge\nf_build_info{v=\"1\"} 1\n";
        assert_eq!(as_text(open_metrics), text);
    }

    #[test]
    fn sends_openmetrics_only_if_it_is_named() {
        assert_eq!(Exposition::accepted_by("*/*"), Exposition::Text);
        assert_eq!(Exposition::accepted_by(""), Exposition::Text);
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Exposition::accepted_by(prometheus), Exposition::OpenMetrics);
    }
}
