use std::fmt;
use std::net::SocketAddr;

use crate::domain::AgentId;

/// What the demo prints once it runs: addresses, and commands to paste.
#[derive(Debug)]
pub(super) struct Guide<'a> {
    /// The address of the console, if it is served.
    pub(super) console: Option<SocketAddr>,
    /// The gateway's address.
    pub(super) gateway: SocketAddr,
    /// The address of probes, metrics and purge.
    pub(super) admin: SocketAddr,
    /// The address of the simulated upstream.
    pub(super) upstream: SocketAddr,
    /// The agents: id, name, number of executions.
    pub(super) agents: Vec<(AgentId, &'a str, usize)>,
}

/// A key for the simulator, which accepts any key with a valid prefix.
const KEY: &str = "bn-demo";

impl fmt::Display for Guide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { console, gateway, admin, upstream, agents } = self;
        if let Some(console) = console {
            writeln!(f, "Console:             http://{console}/console/#key={KEY}")?;
        }
        writeln!(f, "Gateway:             http://{gateway} (documentation: http://{gateway}/docs)")?;
        writeln!(f, "Simulated upstream:  http://{upstream}")?;
        writeln!(f, "Metrics:             http://{admin}/metrics")?;
        writeln!(f, "\nAgents")?;
        for (id, name, executions) in agents {
            writeln!(f, "  {id}  {executions:>6} executions  {name}")?;
        }
        writeln!(f, "\nPaste any of these commands into another terminal (some need jq):")?;
        let of = |nth: usize| {
            agents
                .get(nth)
                .or(agents.first())
                .map(|(id, ..)| format!("http://{gateway}/agents/{id}/executions/all"))
        };
        let (Some(small), Some(large), Some(live)) = (of(0), of(1), of(2)) else { return Ok(()) };
        let auth = format!("-H 'Authorization: Bearer {KEY}'");
        for (what, command) in [
            ("every execution as one JSON document", format!("curl -s {auth} '{small}' | cut -c -400")),
            (
                "the same again, from the cache",
                format!(
                    "curl -s -o /dev/null -D - {auth} '{small}' | grep -i -E '^(cache-status|age|server-timing|x-total-count):'"
                ),
            ),
            (
                "ten thousand executions as a stream, one per line",
                format!(
                    "curl -sN --compressed {auth} -H 'Accept: application/x-ndjson' '{large}' | head -3 | cut -c -160"
                ),
            ),
            (
                "the last line of a stream says whether it is complete",
                format!("curl -sN --compressed {auth} '{large}?format=ndjson&end_record=true' | tail -1"),
            ),
            (
                "the number of completed outbound calls",
                format!(
                    "curl -s -I {auth} '{small}?status=completed&call_type=outbound' | grep -i '^x-total-count:'"
                ),
            ),
            (
                "an agent with running calls; run it twice (jq)",
                format!("curl -s {auth} '{live}' | jq '[.data[:5][] | {{created_at, status}}]'"),
            ),
            (
                "minutes of conversation by status (jq)",
                format!(
                    "curl -s {auth} '{small}' | jq '.data | group_by(.status) | map({{(.[0].status): (map(.conversation_duration // 0) | add / 60)}}) | add'"
                ),
            ),
            (
                "an unchanged response is not sent again: 200, then 304",
                format!(
                    "curl -s -o /dev/null -w '%{{http_code}}\\n' --etag-save /tmp/fanfold-demo-etag {auth} '{small}' && curl -s -o /dev/null -w '%{{http_code}}\\n' --etag-compare /tmp/fanfold-demo-etag {auth} '{small}'"
                ),
            ),
        ] {
            writeln!(f, "\n# {what}\n{command}")?;
        }
        write!(f, "\nPress Ctrl-C to stop.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_works_on_its_own_and_carries_the_key() {
        let id = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3c".parse().unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let guide = Guide {
            console: Some(address(1)),
            gateway: address(1),
            admin: address(2),
            upstream: address(3),
            agents: vec![(id, "A", 7)],
        };
        let text = guide.to_string();
        assert!(text.starts_with("Console:             http://127.0.0.1:1/console/#key=bn-demo\n"), "{text}");
        let calls: Vec<_> = text.lines().filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(calls.len(), 8);
        for call in calls {
            assert!(call.contains("-H 'Authorization: Bearer bn-demo'"), "{call}");
            assert!(call.contains("http://127.0.0.1:1/agents/0f9c6e1e"), "{call}");
        }
    }
}
