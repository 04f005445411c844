use std::fmt;
use std::net::SocketAddr;

use crate::domain::AgentId;

/// What the demo says when it is up: where everything is, and commands ready to paste.
#[derive(Debug)]
pub(super) struct Guide<'a> {
    /// Where the gateway is.
    pub(super) gateway: SocketAddr,
    /// Where probes, metrics and purge are.
    pub(super) admin: SocketAddr,
    /// Where the stand-in for upstream is.
    pub(super) upstream: SocketAddr,
    /// Agents: which, what they are called, and how many executions they have.
    pub(super) agents: Vec<(AgentId, &'a str, usize)>,
}

/// A key that the stand-in takes, as it takes any that looks like one.
const KEY: &str = "bn-demo";

impl fmt::Display for Guide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, admin, upstream, agents } = self;
        writeln!(f, "The gateway is on http://{gateway} (docs: http://{gateway}/docs),")?;
        writeln!(f, "a stand-in for upstream on http://{upstream}, metrics on http://{admin}/metrics.")?;
        writeln!(f, "\nAgents")?;
        for (id, name, executions) in agents {
            writeln!(f, "  {id}  {executions:>6} executions  {name}")?;
        }
        writeln!(f, "\nPaste into another terminal:\n")?;
        writeln!(f, "AUTH='Authorization: Bearer {KEY}'")?;
        let of = |nth: usize| {
            agents
                .get(nth)
                .or(agents.first())
                .map(|(id, ..)| format!("http://{gateway}/agents/{id}/executions/all"))
        };
        let (Some(small), Some(large), Some(live)) = (of(0), of(1), of(2)) else { return Ok(()) };
        for (what, command) in [
            (
                "every execution, one JSON document",
                format!("curl -s -H \"$AUTH\" '{small}' | jq '{{total, complete, as_of}}'"),
            ),
            (
                "again: known now, nothing is read",
                format!(
                    "curl -sv -o /dev/null -H \"$AUTH\" '{small}' 2>&1 | grep -i -E 'cache-status|age|server-timing'"
                ),
            ),
            (
                "ten thousand, a line each, as they come",
                format!(
                    "curl -sN --compressed -H \"$AUTH\" -H 'Accept: application/x-ndjson' '{large}' | head -3 | cut -c -160"
                ),
            ),
            (
                "with a last line that says whether it is whole",
                format!(
                    "curl -sN --compressed -H \"$AUTH\" '{large}?format=ndjson&end_record=true' | tail -1"
                ),
            ),
            (
                "only some of them",
                format!(
                    "curl -s -H \"$AUTH\" '{small}?status=completed&call_type=outbound&from=2020-01-01T00:00:00Z' | jq .total"
                ),
            ),
            (
                "minutes talked, by status",
                format!(
                    "curl -s -H \"$AUTH\" '{small}' | jq '.data | group_by(.status) | map({{(.[0].status): (map(.conversation_duration // 0) | add / 60)}}) | add'"
                ),
            ),
            (
                "an agent with calls under way; run it twice",
                format!("curl -s -H \"$AUTH\" '{live}' | jq '[.data[:5][] | {{created_at, status}}]'"),
            ),
            (
                "headers alone, then nothing new",
                format!(
                    "ETAG=$(curl -sI -H \"$AUTH\" '{small}' | tr -d '\\r' | sed -n 's/^etag: //Ip')\ncurl -s -o /dev/null -w '%{{http_code}}\\n' -H \"$AUTH\" -H \"If-None-Match: $ETAG\" '{small}'"
                ),
            ),
        ] {
            writeln!(f, "\n# {what}\n{command}")?;
        }
        write!(f, "\nCtrl-C ends it.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_goes_to_the_gateway_with_a_key() {
        let id = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3c".parse().unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let guide = Guide {
            gateway: address(1),
            admin: address(2),
            upstream: address(3),
            agents: vec![(id, "A", 7)],
        };
        let text = guide.to_string();
        let calls: Vec<_> = text.lines().filter(|line| line.contains("curl ")).collect();
        assert_eq!(calls.len(), 9);
        for call in calls {
            assert!(call.contains("$AUTH") && call.contains("http://127.0.0.1:1/agents/0f9c6e1e"), "{call}");
        }
    }
}
