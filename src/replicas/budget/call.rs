//! The call of the script, and its reply.

use std::fmt;

use super::terms::{BudgetTerms, Millis};

/// Names a request of any process: the process, and the request's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestName(pub(super) u64, pub(super) u64);

/// A call of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BudgetCall {
    /// The epoch that the member belongs to; `None` asks for the current one.
    pub(super) epoch: Option<u64>,
    /// The epoch that must end, because the server's clock jumped.
    pub(super) forget: Option<u64>,
    /// The number of the next epoch, if the call begins one.
    pub(super) fresh: u64,
    /// The latest time at which the call may have been sent, by the server's clock.
    pub(super) sent: Millis,
    /// Whether the process is too young to know what its predecessor sent.
    pub(super) is_young: bool,
    /// How many permissions are wanted.
    pub(super) want: u32,
    /// The number of the first request that wants one.
    pub(super) first: u64,
    /// How long nothing may be sent, because upstream's limit is reached; 0 if this process has no such news.
    pub(super) pause: Millis,
    /// Whether this is the last call of the process.
    pub(super) is_goodbye: bool,
    /// The reply lists the requests that others sent after this time, by the server's clock.
    pub(super) since: Millis,
    /// Requests that the server may not know, and how long ago they were sent.
    pub(super) report: Vec<(RequestName, Millis)>,
}

/// The reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BudgetReply {
    /// The server's clock.
    pub(super) now: Millis,
    /// The epoch.
    pub(super) epoch: u64,
    /// `None` if the call had no effect because it was late or of another epoch, or if it was the last call.
    pub(super) view: Option<BudgetView>,
}

/// The shared budget as the server sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BudgetView {
    /// How many of the wanted permissions are granted.
    pub(super) granted: u32,
    /// How long to wait before asking for the others.
    pub(super) wait: Millis,
    /// How many requests count now, including those granted.
    pub(super) used: u32,
    /// How many may count.
    pub(super) limit: u32,
    /// The members that are seen and have their share.
    pub(super) members: u32,
    /// The young members that are seen.
    pub(super) young: u32,
    /// How many parts the rate has.
    pub(super) parts: u32,
    /// How long nothing may be sent, because a process reached upstream's limit.
    pub(super) pause: Millis,
    /// Whether this process is young, and so has no full share.
    pub(super) is_young: bool,
    /// Others' requests, and how long ago they were sent.
    pub(super) others: Vec<(RequestName, Millis)>,
}

impl BudgetCall {
    /// The arguments of the script.
    pub(super) fn args(&self, process: u64, terms: &BudgetTerms, expiry: Millis) -> Vec<Vec<u8>> {
        let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let flag = |is: bool| if is { "1" } else { "" }.to_owned();
        let report: Vec<_> = self.report.iter().map(|(name, age)| format!("{name}:{age}")).collect();
        let args = [
            format!("{process:016x}"),
            number(self.epoch),
            number(self.forget),
            self.fresh.to_string(),
            self.sent.to_string(),
            terms.timeout.to_string(),
            flag(self.is_young),
            terms.replicas.to_string(),
            terms.rate.to_string(),
            terms.at_once().to_string(),
            terms.keep().to_string(),
            self.want.to_string(),
            self.first.to_string(),
            self.pause.to_string(),
            flag(self.is_goodbye),
            self.since.to_string(),
            report.join(","),
            expiry.to_string(),
        ];
        args.map(String::into_bytes).into()
    }
}

impl BudgetReply {
    /// Reads a reply: numbers, then others' requests. Returns `None` if it has another form.
    pub(super) fn read(numbers: &[i64], others: &[String]) -> Option<Self> {
        let (&[now, epoch], rest) = numbers.split_first_chunk::<2>()?;
        let epoch = u64::try_from(epoch).ok()?;
        let Some(&[granted, wait, used, limit, members, young, parts, pause, is_young]) =
            rest.first_chunk::<9>()
        else {
            return rest.is_empty().then_some(Self { now, epoch, view: None });
        };
        let count = |n: i64| u32::try_from(n).ok();
        let view = BudgetView {
            granted: count(granted)?,
            wait,
            used: count(used)?,
            limit: count(limit)?,
            members: count(members)?,
            young: count(young)?,
            parts: count(parts)?,
            pause,
            is_young: is_young != 0,
            others: others.iter().filter_map(|other| read_request(other)).collect(),
        };
        Some(Self { now, epoch, view: Some(view) })
    }
}

/// Reads `<process>-<number>:<age>`.
fn read_request(text: &str) -> Option<(RequestName, Millis)> {
    let (name, age) = text.split_once(':')?;
    let (process, number) = name.split_once('-')?;
    let name = RequestName(u64::from_str_radix(process, 16).ok()?, number.parse().ok()?);
    Some((name, age.parse().ok()?))
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.0, self.1)
    }
}
