/// The form in which metrics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics text, version 1.0.0: what Prometheus asks for.
    OpenMetrics,
    /// Prometheus' own text format, version 0.0.4: what everything else that scrapes can read.
    Text,
}

impl Exposition {
    /// The form for whoever sends this `Accept`: the older one, unless the newer is named.
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

/// OpenMetrics text in the older format.
///
/// There a counter's family is called as its samples are, `_total` included, an info is a gauge, and neither unit nor
/// end is told; all else is the same.
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

/// What the samples of counters and infos have beyond the names of their families.
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
    fn the_older_format_names_families_as_their_samples() {
        let open_metrics = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                            a_seconds_sum 1.5\na_seconds_count 2\n# HELP b What.\n# TYPE b counter\nb_total{c=\"d e\"} 7\n\
                            # HELP f_build Which.\n# TYPE f_build info\nf_build_info{v=\"1\"} 1\n# EOF\n";
        let text = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 1.5\na_seconds_count 2\n\
                    # HELP b_total What.\n# TYPE b_total counter\nb_total{c=\"d e\"} 7\n\
                    # HELP f_build_info Which.\n# TYPE f_build_info gauge\nf_build_info{v=\"1\"} 1\n";
        assert_eq!(as_text(open_metrics), text);
    }

    #[test]
    fn only_who_names_openmetrics_gets_it() {
        assert_eq!(Exposition::accepted_by("*/*"), Exposition::Text);
        assert_eq!(Exposition::accepted_by(""), Exposition::Text);
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Exposition::accepted_by(prometheus), Exposition::OpenMetrics);
    }
}
